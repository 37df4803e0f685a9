import type { IndexHit } from '../vector-index.ts'

/** Items kept beyond k before the worse ones are dropped: a drop sorts all of them, so it should be rare. */
const keptAtLeast = 1_024

/**
 * Keeps the best object per item of one search, then the best k items. Order: higher score, then the lower tie key (a
 * hash of the item id, so that every replica breaks ties alike), then the lower item number; within an item, the lower
 * object of equal ones. Holds a multiple of k, however many rows are offered, and is reused from search to search.
 */
export class BestObjects {
  readonly #ties: Uint32Array
  #k = 0
  #count = 0
  #hasDropped = false
  #floor = Number.NEGATIVE_INFINITY
  /** Items in the order they came; the other two belong to them. */
  #items = new Uint32Array(keptAtLeast)
  #objects = new Uint8Array(keptAtLeast)
  #scores = new Float32Array(keptAtLeast)
  /** Hash table, open addressing: place of the item above, plus 1; 0: free. Twice as long, so that probes are short. */
  #places = new Uint32Array(keptAtLeast * 2)
  /** Places of the best k items, as a heap with the worst at its root; valid right after `#gather`. */
  #heap = new Uint32Array(keptAtLeast)

  /** `ties` by item number. */
  constructor(ties: Uint32Array) {
    this.#ties = ties
  }

  begin(k: number): void {
    const kept = 2 ** Math.ceil(Math.log2(Math.max(keptAtLeast, 4 * k)))
    if (kept > this.#items.length) {
      this.#items = new Uint32Array(kept)
      this.#objects = new Uint8Array(kept)
      this.#scores = new Float32Array(kept)
      this.#places = new Uint32Array(kept * 2)
      this.#heap = new Uint32Array(kept)
    } else {
      this.#places.fill(0)
    }
    this.#k = k
    this.#count = 0
    this.#hasDropped = false
    this.#floor = Number.NEGATIVE_INFINITY
  }

  /** All items that were offered come out of `top`. */
  get isAll(): boolean {
    return !this.#hasDropped && this.#count <= this.#k
  }

  /** k items have been offered, or more. */
  get isFull(): boolean {
    return this.#count >= this.#k
  }

  offer(item: number, object: number, score: number): void {
    if (score < this.#floor) return
    const mask = this.#places.length - 1
    let slot = Math.imul(item, 0x9e3779b1) >>> 7
    for (;;) {
      slot &= mask
      const place = this.#places[slot]!
      if (place === 0) break
      if (this.#items[place - 1] === item) {
        this.#replace(place - 1, object, score)
        return
      }
      slot++
    }
    this.#items[this.#count] = item
    this.#objects[this.#count] = object
    this.#scores[this.#count] = score
    this.#places[slot] = ++this.#count
    if (this.#count === this.#items.length) this.#dropWorse()
  }

  /** Score of the last of the k items, -Infinity while there are fewer: rows of less do not change the answer. */
  kthScore(): number {
    if (!this.isFull) return Number.NEGATIVE_INFINITY
    this.#gather()
    return this.#scores[this.#heap[0]!]!
  }

  /** The best k items, best first. */
  top(): IndexHit[] {
    const heap = this.#heap
    const hits = new Array<IndexHit>(this.#gather())
    for (let last = hits.length - 1; last >= 0; last--) {
      const place = heap[0]!
      hits[last] = { item: this.#items[place]!, object: this.#objects[place]!, score: this.#scores[place]! }
      this.#sink(heap[last]!, last)
    }
    return hits
  }

  #replace(place: number, object: number, score: number): void {
    const held = this.#scores[place]!
    if (score < held || (score === held && object >= this.#objects[place]!)) return
    this.#scores[place] = score
    this.#objects[place] = object
  }

  /** Leaves the best k, and takes nothing worse than the last of them from now on. */
  #dropWorse(): void {
    const best = this.top()
    this.#places.fill(0)
    this.#count = 0
    for (const { item, object, score } of best) this.offer(item, object, score)
    this.#hasDropped = true
    this.#floor = best.at(-1)?.score ?? Number.NEGATIVE_INFINITY
  }

  /** Makes the heap; returns how many there are in it. */
  #gather(): number {
    const heap = this.#heap
    const size = Math.min(this.#k, this.#count)
    for (let place = 0; place < size; place++) this.#rise(place, place)
    for (let place = size; place < this.#count; place++)
      if (size > 0 && this.#isWorse(heap[0]!, place)) this.#sink(place, size)
    return size
  }

  #isWorse(a: number, b: number): boolean {
    const scoreA = this.#scores[a]!
    const scoreB = this.#scores[b]!
    if (scoreA !== scoreB) return scoreA < scoreB
    const itemA = this.#items[a]!
    const itemB = this.#items[b]!
    const tieA = this.#ties[itemA]!
    const tieB = this.#ties[itemB]!
    return tieA === tieB ? itemA > itemB : tieA > tieB
  }

  /** From this position, which is free, towards the root. */
  #rise(place: number, from: number): void {
    const heap = this.#heap
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#isWorse(place, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = place
  }

  /** From the root of the first `size`, in whose place it comes. */
  #sink(place: number, size: number): void {
    const heap = this.#heap
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= size) break
      if (child + 1 < size && this.#isWorse(heap[child + 1]!, heap[child]!)) child++
      if (!this.#isWorse(heap[child]!, place)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = place
  }
}
