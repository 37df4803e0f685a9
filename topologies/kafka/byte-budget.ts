/** Bytes that may be held at once; who comes when they are used up waits, in the order of coming. */
export class ByteBudget {
  readonly #maxBytes: number
  readonly #waiting: { readonly bytes: number; readonly grant: () => void }[] = []
  #usedBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** More than the whole budget is granted when nothing else is held. */
  take(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#usedBytes += bytes
      return Promise.resolve()
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push({ bytes, grant: resolve })
    return promise
  }

  giveBack(bytes: number): void {
    this.#usedBytes -= bytes
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#usedBytes += next.bytes
      next.grant()
    }
  }

  #fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.#maxBytes
  }
}
