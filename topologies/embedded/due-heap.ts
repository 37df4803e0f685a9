/** Entries in order of the time they are due: a binary heap. Whether an entry still holds, its taker finds out. */
export class DueHeap<T> {
  readonly #entries: { readonly dueAtMs: number; readonly item: T }[] = []

  push(dueAtMs: number, item: T): void {
    const entries = this.#entries
    entries.push({ dueAtMs, item })
    let child = entries.length - 1
    while (child > 0) {
      const parent = (child - 1) >> 1
      if (entries[parent]!.dueAtMs <= entries[child]!.dueAtMs) break
      this.#swap(parent, child)
      child = parent
    }
  }

  /** When the first is due; infinity when empty. */
  nextDueAtMs(): number {
    return this.#entries[0]?.dueAtMs ?? Number.POSITIVE_INFINITY
  }

  /** The first that is due, removed. */
  take(now: number): T | undefined {
    const first = this.#entries[0]
    if (first === undefined || first.dueAtMs > now) return undefined
    const last = this.#entries.pop()!
    if (this.#entries.length > 0) {
      this.#entries[0] = last
      this.#sink()
    }
    return first.item
  }

  #sink(): void {
    const entries = this.#entries
    for (let parent = 0; ; ) {
      const left = 2 * parent + 1
      if (left >= entries.length) return
      const right = left + 1
      const child = right < entries.length && entries[right]!.dueAtMs < entries[left]!.dueAtMs ? right : left
      if (entries[parent]!.dueAtMs <= entries[child]!.dueAtMs) return
      this.#swap(parent, child)
      parent = child
    }
  }

  #swap(a: number, b: number): void {
    const entry = this.#entries[a]!
    this.#entries[a] = this.#entries[b]!
    this.#entries[b] = entry
  }
}
