import type { RowStore } from './row-store.ts'
import type { Segment } from './segment.ts'

const dead = -1

/**
 * Makes rows of a store searchable: a segment of those already added to it, and a flat tail of those that are not
 * yet. A row is found from the moment it is inserted; `advance` moves the tail into the segment in the background, so
 * that freshness never waits for the graph.
 *
 * Every row inserted gets the next ordinal. Ordinals below `segmented` are in the segment (or died before their
 * turn), those from there on are the tail.
 */
export class TailedRows {
  readonly segment: Segment
  /** Ordinal of the first row inserted here; no two instances of one index share it. */
  readonly first: number
  readonly #rows: RowStore
  /** By ordinal - first: the slot, or dead. */
  #slots = new Int32Array(1024).fill(dead)
  /** By slot: ordinal - first; valid while the slot lives here. */
  #places = new Int32Array(1024).fill(dead)
  #issued = 0
  #segmented = 0
  #live = 0
  readonly #vector: Float32Array

  constructor(rows: RowStore, segment: Segment, first: number) {
    this.#rows = rows
    this.segment = segment
    this.first = first
    this.#vector = new Float32Array(rows.dims)
  }

  /** Ordinal that the next row gets. */
  get next(): number {
    return this.first + this.#issued
  }

  /** First ordinal that is not in the segment. */
  get segmented(): number {
    return this.first + this.#segmented
  }

  /** Rows inserted that have died since. */
  get dead(): number {
    return this.#issued - this.#live
  }

  /** Rows not yet in the segment, dead ones included. */
  get tail(): number {
    return this.#issued - this.#segmented
  }

  insert(slot: number): void {
    this.#place(slot, this.#issued)
    this.#issued++
  }

  /** Puts a row back that had this ordinal when it was saved. */
  restore(slot: number, ordinal: number): void {
    this.#place(slot, ordinal - this.first)
  }

  /** Ends restoring: the segment holds what lies below `segmented`, new rows begin at `next`. */
  restored(segmented: number, next: number): void {
    this.#segmented = segmented - this.first
    this.#issued = next - this.first
  }

  remove(slot: number): void {
    this.#slots[this.#places[slot]!] = dead
    this.#live--
  }

  ordinalOf(slot: number): number {
    return this.first + this.#places[slot]!
  }

  /** Moves up to `count` rows from the tail into the segment. Returns whether there is more to do. */
  advance(count: number): boolean {
    for (let done = 0; done < count && this.#segmented < this.#issued; this.#segmented++) {
      const slot = this.#slots[this.#segmented]!
      if (slot === dead) continue
      this.segment.add(this.first + this.#segmented, this.#rows.readInto(slot, this.#vector))
      done++
    }
    return this.#segmented < this.#issued
  }

  /** Calls `visit` with the living slots among the `count` rows of the segment next to the query. */
  visitNearest(query: Float32Array, count: number, visit: (slot: number) => void): void {
    for (const ordinal of this.segment.search(query, count).ordinals) {
      const slot = this.#slots[ordinal - this.first]!
      if (slot !== dead) visit(slot)
    }
  }

  visitTail(visit: (slot: number) => void): void {
    for (let place = this.#segmented; place < this.#issued; place++) {
      const slot = this.#slots[place]!
      if (slot !== dead) visit(slot)
    }
  }

  #place(slot: number, place: number): void {
    if (place >= this.#slots.length) this.#slots = enlarged(this.#slots, place)
    if (slot >= this.#places.length) this.#places = enlarged(this.#places, slot)
    this.#slots[place] = slot
    this.#places[slot] = place
    this.#live++
  }
}

function enlarged(from: Int32Array, index: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(Math.max(from.length * 2, index + 1)).fill(dead)
  to.set(from)
  return to
}
