import { decodeF16 } from '../schemas/unit-vector.ts'

/** f16 bit pattern → f32. */
const f32OfHalf = decodeF16(new Uint8Array(Uint16Array.from({ length: 65_536 }, (_, half) => half).buffer))
const rowsPerBlock = 1024
const noItem = 0xffffffff

/** The rows of a consistent moment: their slots stay as they are until `unfreeze`. */
export interface FrozenRows {
  readonly slots: Uint32Array
  readonly items: Uint32Array
  readonly objects: Uint8Array
}

/**
 * The flat truth: one f16 vector per row in numbered slots, with the item and the object it belongs to. Slots of
 * rows that died are used again, so memory follows the largest number of rows that ever lived at once.
 */
export class RowStore {
  readonly dims: number
  readonly #blocks: Uint16Array[] = []
  #items = new Uint32Array(rowsPerBlock).fill(noItem)
  #objects = new Uint8Array(rowsPerBlock)
  #norms = new Float32Array(rowsPerBlock)
  #free: number[] = []
  /** Slots freed while frozen wait here, so that a checkpoint being written reads what it froze. */
  #held: number[] | null = null
  #limit = 0
  #count = 0

  constructor(dims: number) {
    this.dims = dims
  }

  get count(): number {
    return this.#count
  }

  /** Slots in use lie below. */
  get limit(): number {
    return this.#limit
  }

  get memoryBytes(): number {
    return this.#blocks.length * rowsPerBlock * this.dims * 2 + this.#items.length * 9
  }

  /** Copies the vector (little-endian f16) at `offset` of `bytes` into a free slot. */
  allocate(item: number, object: number, bytes: Uint8Array, offset: number): number {
    const slot = this.#free.pop() ?? this.#grow()
    const block = this.#blocks[slot >> 10]!
    const base = (slot & 1023) * this.dims
    let sum = 0
    for (let i = 0; i < this.dims; i++) {
      const half = bytes[offset + 2 * i]! | (bytes[offset + 2 * i + 1]! << 8)
      block[base + i] = half
      const value = f32OfHalf[half]!
      sum += value * value
    }
    this.#items[slot] = item
    this.#objects[slot] = object
    this.#norms[slot] = Math.sqrt(sum)
    this.#count++
    return slot
  }

  free(slot: number): void {
    this.#items[slot] = noItem
    this.#count--
    const target = this.#held ?? this.#free
    target.push(slot)
  }

  isUsed(slot: number): boolean {
    return this.#items[slot] !== noItem
  }

  itemOf(slot: number): number {
    return this.#items[slot]!
  }

  objectOf(slot: number): number {
    return this.#objects[slot]!
  }

  normOf(slot: number): number {
    return this.#norms[slot]!
  }

  /** Dot product of the query with the stored vector, always summed in the same order. */
  score(query: Float32Array, slot: number): number {
    const block = this.#blocks[slot >> 10]!
    const base = (slot & 1023) * this.dims
    const table = f32OfHalf
    let s0 = 0
    let s1 = 0
    let s2 = 0
    let s3 = 0
    const end = this.dims & ~3
    let i = 0
    for (; i < end; i += 4) {
      s0 += query[i]! * table[block[base + i]!]!
      s1 += query[i + 1]! * table[block[base + i + 1]!]!
      s2 += query[i + 2]! * table[block[base + i + 2]!]!
      s3 += query[i + 3]! * table[block[base + i + 3]!]!
    }
    for (; i < this.dims; i++) s0 += query[i]! * table[block[base + i]!]!
    return s0 + s1 + s2 + s3
  }

  /** The vector as f32 in `target`, which has the store's dimension. */
  readInto(slot: number, target: Float32Array): Float32Array {
    const block = this.#blocks[slot >> 10]!
    const base = (slot & 1023) * this.dims
    for (let i = 0; i < this.dims; i++) target[i] = f32OfHalf[block[base + i]!]!
    return target
  }

  /** The stored bytes of a row, as a view that the next write to the slot changes. */
  halvesOf(slot: number): Uint16Array {
    const base = (slot & 1023) * this.dims
    return this.#blocks[slot >> 10]!.subarray(base, base + this.dims)
  }

  /** Keeps the rows of this moment readable until `unfreeze`, whatever dies meanwhile. Once at a time. */
  freeze(): FrozenRows {
    this.#held = []
    const slots = new Uint32Array(this.#count)
    let n = 0
    for (let slot = 0; slot < this.#limit; slot++) if (this.#items[slot] !== noItem) slots[n++] = slot
    return {
      slots,
      items: Uint32Array.from(slots, slot => this.#items[slot]!),
      objects: Uint8Array.from(slots, slot => this.#objects[slot]!),
    }
  }

  unfreeze(): void {
    this.#free = this.#free.concat(this.#held ?? [])
    this.#held = null
  }

  #grow(): number {
    const slot = this.#limit++
    if (slot === this.#blocks.length * rowsPerBlock) this.#blocks.push(new Uint16Array(rowsPerBlock * this.dims))
    if (slot === this.#items.length) {
      const length = slot * 2
      const items = new Uint32Array(length).fill(noItem)
      items.set(this.#items)
      this.#items = items
      this.#objects = grown(this.#objects, new Uint8Array(length))
      this.#norms = grown(this.#norms, new Float32Array(length))
    }
    return slot
  }
}

function grown<T extends Uint8Array | Float32Array>(from: T, to: T): T {
  to.set(from)
  return to
}
