import { type BestObject, BestObjects } from './best-objects.ts'
import { RowStore } from './row-store.ts'
import type { Segment } from './segment.ts'
import { TailedRows } from './tailed-rows.ts'

export interface ItemQuery {
  /** Unit vector. */
  readonly vector: Float32Array
  readonly k: number
  /** Compare with every row. */
  readonly exact: boolean
  /** Items that may come out, a bitmap by ordinal with its number of bits; null: all. */
  readonly allowed: { readonly bits: Uint32Array; readonly count: number } | null
  /** Ordinal of an item never to return; -1: none. */
  readonly exclude: number
}

export interface ItemHits {
  /** Best first, at most k. */
  readonly hits: readonly BestObject[]
  readonly plan: 'graph' | 'scan' | 'exact'
  /** No further item could come out with a larger k. */
  readonly complete: boolean
}

/** What becomes of one item's rows. A `put` replaces all rows the item has. */
export type ItemOperation =
  | { readonly type: 'drop' | 'show' | 'hide'; readonly item: number }
  | {
      readonly type: 'put'
      readonly item: number
      readonly tie: number
      readonly shown: boolean
      /** Vectors of the item's objects in order, little-endian f16. */
      readonly vectors: Uint8Array
    }

export interface VectorStatistics {
  readonly rows: number
  /** Dead rows that the segment still holds. */
  readonly tombstones: number
  readonly segments: number
  readonly memoryBytes: number
  readonly normMin: number
  readonly normMax: number
  readonly normMean: number
}

/** Fewer rows than this are compared one by one: that costs no more than a walk through the graph and is exact. */
const scanRows = 1_000
const minCandidates = 64
/** A graph of this many dead rows, and more dead than alive, is built anew. */
const rebuildDead = 1_000

/**
 * Items by similarity of their best object. Owned by one thread; a search sees each item as one call of `apply` left
 * it: its old rows or its new ones, never both and never neither.
 */
export class ItemIndex {
  readonly rows: RowStore
  readonly #newSegment: () => Segment
  readonly #best = new BestObjects()
  #current: TailedRows
  /** The replacement of `#current` while it is being built; it takes over when its tail is empty. */
  #next: TailedRows | null = null
  readonly #slots: (readonly number[] | undefined)[] = []
  #shown = new Uint8Array(1024)
  #ties = new Uint32Array(1024)
  #shownItems = 0
  #shownRows = 0

  constructor(dims: number, newSegment: () => Segment) {
    this.rows = new RowStore(dims)
    this.#newSegment = newSegment
    this.#current = new TailedRows(this.rows, newSegment(), 1)
  }

  /** The rows as they are searched now. */
  get searched(): TailedRows {
    return this.#current
  }

  /** Replaces the empty searched rows by restored ones; only before the first `apply`. */
  adopt(restored: TailedRows): void {
    this.#current.segment.release()
    this.#current = restored
  }

  apply(operation: ItemOperation): void {
    switch (operation.type) {
      case 'put':
        this.#put(operation)
        break
      case 'drop':
        this.#drop(operation.item)
        break
      case 'show':
        this.#show(operation.item, true)
        break
      case 'hide':
        this.#show(operation.item, false)
        break
    }
  }

  /** Takes rows that lie in the store already, as a restored checkpoint has them. */
  attach(
    item: number,
    options: { readonly slots: readonly number[]; readonly tie: number; readonly shown: boolean },
  ): void {
    this.#reserve(item)
    this.#slots[item] = options.slots
    this.#ties[item] = options.tie
    this.#show(item, options.shown)
  }

  /**
   * Background work: moves up to `count` rows into the graph, or into the graph that replaces it. Returns whether
   * there is more to do.
   */
  advance(count: number): boolean {
    if (this.#next === null && this.#wantsRebuild()) this.#next = this.#beginRebuild()
    if (this.#next === null) return this.#current.advance(count)
    if (this.#next.advance(count)) return true
    this.#current.segment.release()
    this.#current = this.#next
    this.#next = null
    return this.#wantsRebuild()
  }

  search(query: ItemQuery): ItemHits {
    if (query.exact) return this.#scan(query, 'exact')
    const selectable = query.allowed === null ? this.#shownItems : Math.min(query.allowed.count, this.#shownItems)
    const share = selectable / Math.max(1, this.#shownItems)
    const living = this.#shownRows / Math.max(1, this.#shownRows + this.#current.dead)
    const wanted = Math.max(minCandidates, 4 * query.k)
    const candidates = Math.ceil(wanted / Math.max(share * living, 1e-6))
    const rowsToScan = this.#shownRows * share
    if (rowsToScan > scanRows && rowsToScan > 4 * candidates) {
      const found = this.#walk(query, candidates, wanted)
      if (found !== null) return found
    }
    return this.#scan(query, 'scan')
  }

  /** The stored vector of an item's object; null when there is none. */
  vector(item: number, object: number): Float32Array | null {
    const slot = this.#slots[item]?.[object]
    return slot === undefined ? null : this.rows.readInto(slot, new Float32Array(this.rows.dims))
  }

  statistics(): VectorStatistics {
    const { rows } = this
    let normMin = Number.POSITIVE_INFINITY
    let normMax = 0
    let sum = 0
    for (let slot = 0; slot < rows.limit; slot++) {
      if (!rows.isUsed(slot)) continue
      const norm = rows.normOf(slot)
      normMin = Math.min(normMin, norm)
      normMax = Math.max(normMax, norm)
      sum += norm
    }
    const graphs = this.#current.segment.memoryBytes + (this.#next?.segment.memoryBytes ?? 0)
    return {
      rows: rows.count,
      tombstones: this.#current.dead,
      segments: this.#next === null ? 1 : 2,
      memoryBytes: rows.memoryBytes + graphs,
      normMin: rows.count === 0 ? 0 : normMin,
      normMax,
      normMean: rows.count === 0 ? 0 : sum / rows.count,
    }
  }

  /**
   * Candidates of the graph and the whole tail, re-scored; `wanted` of the candidates are expected to pass. Null when
   * the graph's answer is not to be trusted: fewer than k items came out of it, or, with a filter, fewer than half of
   * what was expected. The latter shows a filter that goes against the query (whole clusters allowed, the query
   * elsewhere): what passes then lies at the far end of the candidates, where the graph is least exact.
   */
  #walk(query: ItemQuery, candidates: number, wanted: number): ItemHits | null {
    const { segment } = this.#current
    const offer = this.#offers(query)
    for (const widening of query.allowed === null ? [1, 4] : [1]) {
      const count = candidates * widening
      this.#best.begin()
      this.#current.visitNearest(query.vector, count, offer)
      const isEnough = this.#best.count >= query.k && (query.allowed === null || this.#best.rows >= wanted / 2)
      const isAll = count >= segment.size
      this.#current.visitTail(offer)
      if (isEnough || (isAll && this.#best.count >= query.k))
        return { hits: this.#best.top(query.k, this.#ties), plan: 'graph', complete: false }
    }
    return null
  }

  #scan(query: ItemQuery, plan: 'scan' | 'exact'): ItemHits {
    this.#best.begin()
    const offer = this.#offers(query)
    if (query.allowed === null) {
      const { rows } = this
      for (let slot = 0; slot < rows.limit; slot++) if (rows.isUsed(slot)) offer(slot)
    } else {
      forEachBit(query.allowed.bits, item => this.#slots[item]?.forEach(offer))
    }
    return { hits: this.#best.top(query.k, this.#ties), plan, complete: this.#best.count <= query.k }
  }

  /** Scores a living row if its item may come out. */
  #offers(query: ItemQuery): (slot: number) => void {
    const { rows } = this
    const shown = this.#shown
    const bits = query.allowed?.bits ?? null
    return slot => {
      const item = rows.itemOf(slot)
      if (shown[item] === 0 || item === query.exclude) return
      if (bits !== null && ((bits[item >>> 5] ?? 0) & (1 << (item & 31))) === 0) return
      this.#best.offer(item, rows.objectOf(slot), rows.score(query.vector, slot))
    }
  }

  #put(put: Extract<ItemOperation, { type: 'put' }>): void {
    this.#drop(put.item)
    this.#reserve(put.item)
    const rowBytes = this.rows.dims * 2
    const slots: number[] = []
    for (let offset = 0; offset < put.vectors.length; offset += rowBytes) {
      const slot = this.rows.allocate(put.item, slots.length, put.vectors, offset)
      this.#current.insert(slot)
      this.#next?.insert(slot)
      slots.push(slot)
    }
    this.#slots[put.item] = slots
    this.#ties[put.item] = put.tie
    this.#show(put.item, put.shown)
  }

  #drop(item: number): void {
    const slots = this.#slots[item]
    if (slots === undefined) return
    this.#show(item, false)
    for (const slot of slots) {
      this.#current.remove(slot)
      this.#next?.remove(slot)
      this.rows.free(slot)
    }
    this.#slots[item] = undefined
  }

  #show(item: number, shown: boolean): void {
    const value = shown ? 1 : 0
    const slots = this.#slots[item]
    if (slots === undefined || this.#shown[item] === value) return
    this.#shown[item] = value
    this.#shownItems += shown ? 1 : -1
    this.#shownRows += shown ? slots.length : -slots.length
  }

  #reserve(item: number): void {
    if (item < this.#shown.length) return
    const length = Math.max(this.#shown.length * 2, item + 1)
    const shown = new Uint8Array(length)
    const ties = new Uint32Array(length)
    shown.set(this.#shown)
    ties.set(this.#ties)
    this.#shown = shown
    this.#ties = ties
  }

  #wantsRebuild(): boolean {
    return this.#current.dead > Math.max(rebuildDead, this.rows.count)
  }

  #beginRebuild(): TailedRows {
    const next = new TailedRows(this.rows, this.#newSegment(), this.#current.next)
    for (let slot = 0; slot < this.rows.limit; slot++) if (this.rows.isUsed(slot)) next.insert(slot)
    return next
  }
}

function forEachBit(bits: Uint32Array, visit: (index: number) => void): void {
  for (let word = 0; word < bits.length; word++) {
    let rest = bits[word]!
    while (rest !== 0) {
      const bit = 31 - Math.clz32(rest & -rest)
      visit(word * 32 + bit)
      rest &= rest - 1
    }
  }
}
