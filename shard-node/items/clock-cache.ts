interface Kept<Value> {
  readonly value: Value
  readonly bytes: number
  /** Since the hand went over it. */
  wasRead: boolean
}

/**
 * Values by number, those that were not read lately left out. By the clock algorithm, so that reading one that is kept
 * is one look and moves nothing: a search reads hundreds. For each that comes in when all places are taken, the hand
 * goes on to the next one that was not read since it went there last, which goes.
 */
export class ClockCache<Value> {
  readonly #limit: number
  readonly #kept = new Map<number, Kept<Value>>()
  #hand = this.#kept.entries()
  #bytes = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Sum of what was told of each. */
  get bytes(): number {
    return this.#bytes
  }

  get(key: number): Value | undefined {
    const known = this.#kept.get(key)
    if (known === undefined) return undefined
    known.wasRead = true
    return known.value
  }

  /** There is none of this key. */
  add(key: number, value: Value, bytes: number): void {
    if (this.#kept.size >= this.#limit) this.#evict()
    this.#kept.set(key, { value, bytes, wasRead: false })
    this.#bytes += bytes
  }

  delete(key: number): void {
    this.#bytes -= this.#kept.get(key)?.bytes ?? 0
    this.#kept.delete(key)
  }

  #evict(): void {
    for (;;) {
      const { value, done } = this.#hand.next()
      if (done === true) {
        this.#hand = this.#kept.entries()
        continue
      }
      const [key, kept] = value
      if (!kept.wasRead) {
        this.delete(key)
        return
      }
      kept.wasRead = false
    }
  }
}
