/** Bytes of request bodies that may be held in memory at once, over all requests. */
export class BodyBudget {
  readonly #maxBytes: number
  #heldBytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** False when it does not fit; then nothing is held. One body alone always fits. */
  reserve(bytes: number): boolean {
    if (this.#heldBytes > 0 && this.#heldBytes + bytes > this.#maxBytes) return false
    this.#heldBytes += bytes
    return true
  }

  release(bytes: number): void {
    this.#heldBytes -= bytes
  }
}
