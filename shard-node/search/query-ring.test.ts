import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { IndexAnswer } from '../vector-index.ts'
import { QueryRing } from './query-ring.ts'
import type { WireQuery } from './search-messages.ts'

const dims = 16
const hits = (count: number): IndexAnswer['hits'] =>
  Array.from({ length: count }, (_, i) => ({ item: i, object: i % 3, score: 1 / (i + 1) }))

function queryOf(n: number): WireQuery {
  const vector = Float32Array.from({ length: dims }, (_, i) => n + i)
  return { vector, k: n + 1, exact: false, allowed: null, exclude: n - 1, effort: n / 2, audit: n % 2 === 1 }
}

function answerOf(n: number): IndexAnswer {
  const segments = [{ rows: n, by: 'graph', scored: 2 * n }] as const
  return { hits: hits(n % 20), complete: n % 2 === 0, plan: { kind: 'graph', selectivity: 1, effort: n, segments } }
}

function ends(): { readonly owner: QueryRing; readonly thread: QueryRing } {
  const owner = QueryRing.create(dims)
  return { owner, thread: new QueryRing(structuredClone(owner.memory)) }
}

function taken(owner: QueryRing): [number, IndexAnswer][] {
  const answers: [number, IndexAnswer][] = []
  owner.takeAnswers((id, answer) => answers.push([id, answer]))
  return answers
}

/** Both ends, and what went through them. */
class Traffic {
  readonly ends = ends()
  readonly posted: (number | null)[] = []
  readonly done: (number | null)[] = []
  readonly told: number[] = []

  post(id: number | null): void {
    const { owner } = this.ends
    if (!owner.hasRoom) return
    this.posted.push(id)
    if (id === null) owner.postMessage()
    else owner.postQuery({ id, snapshot: { sequence: id, logRows: 2 * id }, query: queryOf(id) })
  }

  doNext(): void {
    const { thread } = this.ends
    expect(thread.waiting).toBe(this.posted.length - this.done.length)
    if (thread.waiting === 0) return
    const request = thread.next()
    this.done.push(request?.id ?? null)
    if (request !== null) {
      const { id } = request
      expect(request).toEqual({ id, snapshot: { sequence: id, logRows: 2 * id }, query: queryOf(id) })
      expect(thread.answer(answerOf(id))).toBe(true)
    }
    thread.end()
  }

  take(): void {
    for (const [id, answer] of taken(this.ends.owner)) {
      expect(answer).toEqual(answerOf(id))
      this.told.push(id)
    }
    expect(this.told).toEqual(this.done.filter(id => id !== null))
    expect(this.done).toEqual(this.posted.slice(0, this.done.length))
  }
}

test('requests are done in order and answers come back to them, however the ends take turns', () => {
  const step = fc.constantFrom('query', 'message', 'do', 'take')
  fc.assert(
    fc.property(fc.array(step, { maxLength: 500, size: 'max' }), steps => {
      const traffic = new Traffic()
      for (const [id, each] of steps.entries()) {
        if (each === 'do') traffic.doNext()
        else if (each === 'take') traffic.take()
        else traffic.post(each === 'query' ? id : null)
      }
      traffic.take()
    }),
  )
})

test('there is room for 64 requests, again and again, also when the counts overflow', () => {
  const traffic = new Traffic()
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 70; i++) traffic.post(i % 7 === 0 ? null : 100 * round + i)
    expect(traffic.posted).toHaveLength(64 * (round + 1))
    while (traffic.ends.thread.waiting > 0) traffic.doNext()
    expect(traffic.ends.owner.hasRoom).toBe(false)
    traffic.take()
  }
})

describe('a slot', () => {
  test('takes queries that are neither exact nor filtered, of the right length', () => {
    const { owner } = ends()
    expect(owner.fits(queryOf(1))).toBe(true)
    expect(owner.fits({ ...queryOf(1), exact: true })).toBe(false)
    expect(owner.fits({ ...queryOf(1), allowed: { bits: new Uint32Array(1), count: 1, items: 1 } })).toBe(false)
    expect(owner.fits({ ...queryOf(1), vector: new Float32Array(dims - 8) })).toBe(false)
  })

  test('whose answer is too long, or a message, tells nothing', () => {
    const { owner, thread } = ends()
    const snapshot = { sequence: 1, logRows: 0 }
    for (const id of [1, 2]) owner.postQuery({ id, snapshot, query: queryOf(id) })
    thread.next()
    expect(thread.answer({ ...answerOf(1), hits: hits(1_000) })).toBe(false)
    thread.end()
    expect(taken(owner)).toEqual([])
    thread.next()
    expect(thread.answer(answerOf(2))).toBe(true)
    thread.end()
    expect(taken(owner)).toEqual([[2, answerOf(2)]])
    // The slots of both are free again.
    for (let id = 3; owner.hasRoom; id++) owner.postQuery({ id, snapshot, query: queryOf(id) })
    expect(thread.waiting).toBe(64)
  })

  test('gives the thread a vector of its own', () => {
    const { owner, thread } = ends()
    owner.postQuery({ id: 1, snapshot: { sequence: 1, logRows: 0 }, query: queryOf(1) })
    const [first, again] = [thread.next()!, thread.next()!]
    expect(first.query.vector).toEqual(queryOf(1).vector)
    expect(first.query.vector).not.toBe(again.query.vector)
  })
})
