/** A row offered for an item: its similarity and which object it is. */
export interface BestObject {
  readonly item: number
  readonly object: number
  readonly score: number
}

/**
 * Keeps the best object per item of one search, then the best items. Order: higher score, then the lower tie key (a
 * hash of the item id, so that every replica breaks ties alike), then the lower item number. Reused from search to
 * search: arrays by item number, stamped with the search they belong to.
 */
export class BestObjects {
  #stamps = new Uint32Array(1024)
  #scores = new Float64Array(1024)
  #objects = new Uint8Array(1024)
  #stamp = 0
  #items: number[] = []
  #rows = 0

  begin(): void {
    this.#items = []
    this.#rows = 0
    this.#stamp = (this.#stamp + 1) >>> 0
    if (this.#stamp !== 0) return
    this.#stamps.fill(0)
    this.#stamp = 1
  }

  /** Rows offered since `begin`. */
  get rows(): number {
    return this.#rows
  }

  /** Items offered since `begin`. */
  get count(): number {
    return this.#items.length
  }

  offer(item: number, object: number, score: number): void {
    this.#rows++
    if (item >= this.#stamps.length) this.#grow(item)
    if (this.#stamps[item] !== this.#stamp) {
      this.#stamps[item] = this.#stamp
      this.#items.push(item)
    } else {
      const held = this.#scores[item]!
      if (score < held || (score === held && object >= this.#objects[item]!)) return
    }
    this.#scores[item] = score
    this.#objects[item] = object
  }

  /** The best `k` items, best first. `ties` by item number. */
  top(k: number, ties: Uint32Array): BestObject[] {
    const scores = this.#scores
    const worse = (a: number, b: number): boolean => {
      if (scores[a] !== scores[b]) return scores[a]! < scores[b]!
      return ties[a] === ties[b] ? a > b : ties[a]! > ties[b]!
    }
    const heap: number[] = []
    for (const item of this.#items) {
      if (heap.length < k) rise(heap, item, worse)
      else if (worse(heap[0]!, item)) replaceRoot(heap, item, worse)
    }
    heap.sort((a, b) => (worse(a, b) ? 1 : -1))
    return heap.map(item => ({ item, object: this.#objects[item]!, score: scores[item]! }))
  }

  #grow(item: number): void {
    const length = Math.max(this.#stamps.length * 2, item + 1)
    const stamps = new Uint32Array(length)
    const scores = new Float64Array(length)
    const objects = new Uint8Array(length)
    stamps.set(this.#stamps)
    scores.set(this.#scores)
    objects.set(this.#objects)
    this.#stamps = stamps
    this.#scores = scores
    this.#objects = objects
  }
}

type Worse = (a: number, b: number) => boolean

/** A heap with the worst at its root. */
function rise(heap: number[], item: number, worse: Worse): void {
  let at = heap.push(item) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!worse(item, heap[parent]!)) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = item
}

function replaceRoot(heap: number[], item: number, worse: Worse): void {
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && worse(heap[child + 1]!, heap[child]!)) child++
    if (!worse(heap[child]!, item)) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = item
}
