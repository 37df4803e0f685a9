import { murmur2 } from '../../schemas/partition.ts'

const encoder = new TextEncoder()

/** UTF-8 of one text at a time, without an allocation per text. */
export class EncodedText {
  #bytes = new Uint8Array(1024)
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Valid until the next text. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  encode(text: string): this {
    if (text.length * 3 > this.#bytes.length) this.#bytes = new Uint8Array(text.length * 3)
    this.#length = encoder.encodeInto(text, this.#bytes).written
    return this
  }

  /** murmur2 as u32. */
  hash(): number {
    return murmur2(this.bytes) >>> 0
  }
}
