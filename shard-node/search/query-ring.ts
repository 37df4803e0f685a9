import type { IndexAnswer } from '../vector-index.ts'
import { lengthFor, lengthOf, readAnswer, writeAnswer } from './answer-numbers.ts'
import type { Snapshot, WireQuery } from './search-messages.ts'

/** What a ring lies in: made by the owner, passed to the search thread. */
export interface RingMemory {
  readonly dims: number
  readonly buffer: SharedArrayBuffer
}

export interface RingQuery {
  readonly id: number
  readonly snapshot: Snapshot
  readonly query: WireQuery
}

interface Slot {
  readonly head: Float64Array
  readonly vector: Float32Array
  readonly answer: Float64Array
}

/** Requests that are not done, or whose answers the owner has not taken, at most. */
const slotCount = 64
/** Longer answers go by message. */
const answerLength = lengthFor(512, 24)
/** Places of numbers in the head of a slot. `answerLength` is 0 where the answer comes by message. */
const places = { id: 0, sequence: 1, logRows: 2, k: 3, exclude: 4, effort: 5, audit: 6, answerLength: 7 } as const
const headLength = 8
/** In the place of an id: the request is the next message. */
const message = -1
/** Places of the counts (i32), each on a cache line of its own. */
const counts = { posted: 0, done: 16 } as const
const countsBytes = 128
/** Of both counts: they overflow in the life of any busy ring, not for the first time after days. */
const firstCount = 2 ** 31 - 1_000

/**
 * The requests to one search thread, in order. A query and its answer lie in a slot, which costs both ends next to
 * nothing, where a message costs them a tenth of a search. A request that does not fit is a message, and a slot says
 * when it is its turn.
 *
 * The owner fills a slot and counts it as posted; the thread does what it says, leaves the answer in it and counts it
 * as done; the owner takes the answer, and the slot is free. Each count is written by one end only, and overflows.
 */
export class QueryRing {
  readonly memory: RingMemory
  readonly #counts: Int32Array
  readonly #slots: readonly Slot[]
  /** As this end has it; of the thread's end only what is done. */
  #posted: number
  #done: number

  static create(dims: number): QueryRing {
    const buffer = new SharedArrayBuffer(countsBytes + slotCount * slotBytes(dims))
    new Int32Array(buffer, 0, countsBytes / 4).fill(firstCount)
    return new QueryRing({ dims, buffer })
  }

  /** The other end of a ring that was created. */
  constructor(memory: RingMemory) {
    this.memory = memory
    this.#counts = new Int32Array(memory.buffer, 0, countsBytes / 4)
    this.#slots = Array.from({ length: slotCount }, (_, at) => slotOf(memory, at))
    this.#posted = Atomics.load(this.#counts, counts.posted)
    this.#done = Atomics.load(this.#counts, counts.done)
  }

  // The owner's end.

  /** A slot is free. */
  get hasRoom(): boolean {
    return ((this.#posted - this.#done) | 0) < slotCount
  }

  /** Whether a query can lie in a slot. */
  fits({ vector, allowed, exact }: WireQuery): boolean {
    return allowed === null && !exact && vector.length === this.memory.dims
  }

  /** There is room, and the query fits. */
  postQuery({ id, snapshot, query }: RingQuery): void {
    const { head, vector } = this.#slotAt(this.#posted)
    head[places.id] = id
    head[places.sequence] = snapshot.sequence
    head[places.logRows] = snapshot.logRows
    head[places.k] = query.k
    head[places.exclude] = query.exclude
    head[places.effort] = query.effort
    head[places.audit] = query.audit ? 1 : 0
    vector.set(query.vector)
    this.#post()
  }

  /** There is room, and the message has been sent. */
  postMessage(): void {
    this.#slotAt(this.#posted).head[places.id] = message
    this.#post()
  }

  /** Tells of the answers that are there since the last call, in order. */
  takeAnswers(onAnswer: (id: number, answer: IndexAnswer) => void): void {
    const done = Atomics.load(this.#counts, counts.done)
    while (this.#done !== done) {
      const { head, answer } = this.#slotAt(this.#done)
      const id = head[places.id]!
      const taken = head[places.answerLength] === 0 ? null : readAnswer(answer, 0)
      this.#done = (this.#done + 1) | 0
      if (taken !== null) onAnswer(id, taken)
    }
  }

  // The thread's end.

  /** How many requests wait. */
  get waiting(): number {
    return (Atomics.load(this.#counts, counts.posted) - this.#done) | 0
  }

  /** What is to be done next: a query, or null for a message. One waits. */
  next(): RingQuery | null {
    const { head, vector } = this.#slotAt(this.#done)
    const id = head[places.id]!
    if (id === message) return null
    return {
      id,
      snapshot: { sequence: head[places.sequence]!, logRows: head[places.logRows]! },
      query: {
        // Not the slot's: kernels know a vector again by its identity, audits keep it.
        vector: vector.slice(),
        k: head[places.k]!,
        exact: false,
        allowed: null,
        exclude: head[places.exclude]!,
        effort: head[places.effort]!,
        audit: head[places.audit] === 1,
      },
    }
  }

  /** Leaves the answer to what is next; false: it is too long. */
  answer(answer: IndexAnswer): boolean {
    const length = lengthOf(answer)
    if (length > answerLength) return false
    const slot = this.#slotAt(this.#done)
    writeAnswer(answer, slot.answer, 0)
    slot.head[places.answerLength] = length
    return true
  }

  /** What was next is done. */
  end(): void {
    this.#done = (this.#done + 1) | 0
    Atomics.store(this.#counts, counts.done, this.#done)
  }

  /** Blocks the thread until a request waits. */
  wait(): void {
    while (this.waiting === 0) Atomics.wait(this.#counts, counts.posted, this.#done)
  }

  #post(): void {
    this.#slotAt(this.#posted).head[places.answerLength] = 0
    this.#posted = (this.#posted + 1) | 0
    Atomics.store(this.#counts, counts.posted, this.#posted)
    Atomics.notify(this.#counts, counts.posted)
  }

  #slotAt(count: number): Slot {
    return this.#slots[count & (slotCount - 1)]!
  }
}

function slotBytes(dims: number): number {
  return 8 * (headLength + answerLength) + 4 * dims
}

function slotOf({ dims, buffer }: RingMemory, slot: number): Slot {
  const at = countsBytes + slot * slotBytes(dims)
  return {
    head: new Float64Array(buffer, at, headLength),
    answer: new Float64Array(buffer, at + 8 * headLength, answerLength),
    vector: new Float32Array(buffer, at + 8 * (headLength + answerLength), dims),
  }
}
