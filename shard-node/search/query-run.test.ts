import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { visibility } from '../kernel/row-memory.ts'
import {
  allowedOf,
  buildSegment,
  naiveHits,
  type TestRow,
  type TestSegmentOptions,
  tiesFor,
} from '../testing/search-segments.ts'
import { seededRandom } from '../testing/seeded-random.ts'
import { subspaceVectors } from '../testing/subspace-vectors.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { ExactRun } from './exact-run.ts'
import { QueryRun } from './query-run.ts'
import type { WireQuery } from './search-messages.ts'
import { type SearchedSegment, SegmentSearch } from './segment-search.ts'
import { VectorScratch } from './stored-vectors.ts'

const dims = 64
const items = 3_200
const clusters = 40
const now = 100
const directory = mkdtempSync(join(tmpdir(), 'freshet-query-run-'))
// Few tie keys, so that item numbers decide too.
const ties = tiesFor(65_536, item => item % 5)
const source = subspaceVectors({ seed: 3, dims, clusters, spread: 0.5 })
const random = seededRandom(11)
const below = (limit: number): number => Math.floor(random() * limit)
const run = new QueryRun({ dims, ties })

/** Segments as a search thread has them, and what a naive search looks at. */
class Layout {
  readonly segments: SearchedSegment[] = []
  readonly rows: TestRow[] = []

  async add(options: Pick<TestSegmentOptions, 'order' | 'rows'> & Partial<TestSegmentOptions>): Promise<this> {
    const id = nextId++
    const { view, rows } = await buildSegment({ id, dims, items, threads: 1, directory, ...options })
    const scratch = (): VectorScratch => new VectorScratch(dims)
    this.segments.push({ segment: new SegmentSearch(view, { dims, thread: 0, scratch }), rows: rows.length })
    this.rows.push(...rows)
    return this
  }

  answer(query: WireQuery, sequence = now): IndexAnswer | null {
    return run.answer(this.segments, sequence, query)
  }

  exact(query: WireQuery, sequence = now, slice = 700): IndexAnswer {
    const exact = new ExactRun({ segments: this.segments, sequence, query, ties })
    for (;;) {
      const answer = exact.advance(slice)
      if (answer !== null) return answer
    }
  }
}

let nextId = 1
let layout: Layout

beforeAll(async () => {
  layout = new Layout()
  await layout.add({ order: 'item', hasGraph: true, rows: setsOf(0, 2_000) })
  await layout.add({ order: 'item', rows: setsOf(2_000, 2_600) })
  await layout.add({ order: 'log', rows: replaced(setsOf(2_600, 2_800)) })
  await layout.add({ order: 'log', rows: setsOf(2_800, 3_000) })
})
afterAll(() => {
  for (const { segment } of layout.segments) segment.close()
  rmSync(directory, { recursive: true })
})

/** One set for each item, of one to three objects. */
function setsOf(from: number, to: number, word = anyWord): TestRow[] {
  return Array.from({ length: to - from }, (_, i) => setOf(from + i, 1 + below(3), word())).flat()
}

function setOf(item: number, objects: number, word: number): TestRow[] {
  return Array.from({ length: objects }, (_, object) => ({
    item,
    object,
    word,
    vector: source.bytes(item % clusters),
  }))
}

/** Every set put twice; the first one died when the second was born, around now. */
function replaced(rows: readonly TestRow[]): TestRow[] {
  return rows.flatMap(row => {
    const changed = now - 2 + (row.item % 5)
    const born = (visibility.bornBit | changed) >>> 0
    return [
      { ...row, vector: source.bytes(row.item % clusters), word: changed },
      { ...row, word: born },
    ]
  })
}

/** Mostly seen, else born, hidden or dead around now. */
function anyWord(): number {
  const changed = now - 3 + below(7)
  const words = [(visibility.bornBit | changed) >>> 0, visibility.hiddenBit | changed, changed, 1]
  return words[below(16)] ?? 0
}

function queryOf(options: Partial<WireQuery> = {}): WireQuery {
  const vector = source.query(below(clusters))
  return { vector, k: 10, exact: false, allowed: null, exclude: -1, effort: 60, audit: false, ...options }
}

/** Each hit is a row that the query may see, no item comes twice, and there are as many, in the order they should be. */
function expectSound(answer: IndexAnswer, rows: readonly TestRow[], query: WireQuery, sequence = now): void {
  const all = naiveHits(rows, sequence, { ...query, k: Number.POSITIVE_INFINITY }, ties)
  expect(answer.hits.length).toBe(Math.min(query.k, all.length))
  const hit = new Set(answer.hits.map(({ item, object }) => `${item} ${object}`))
  const rowsHit = rows.filter(({ item, object }) => hit.has(`${item} ${object}`))
  expect(answer.hits).toEqual(naiveHits(rowsHit, sequence, query, ties))
  if (answer.complete) expect(answer.hits).toEqual(all)
}

/** Share of the best items that were found, over many queries; every answer is sound. */
function recall(of: Layout, queries: readonly WireQuery[]): number {
  let found = 0
  let wanted = 0
  for (const query of queries) {
    const answer = of.answer(query)!
    expectSound(answer, of.rows, query)
    const best = naiveHits(of.rows, now, query, ties)
    found += best.filter(({ item }) => answer.hits.some(hit => hit.item === item)).length
    wanted += best.length
  }
  return found / wanted
}

const filters: Readonly<Record<string, (item: number) => boolean>> = {
  'nine in ten': item => (item * 7_919) % 10 !== 3,
  'one in two': item => (item * 7_919) % 2 === 0,
  'one in ten': item => (item * 7_919) % 10 === 3,
  'one in a hundred': item => (item * 7_919) % 100 === 3,
  'clusters, half of them': item => item % clusters < clusters / 2,
  'clusters, two of them': item => item % clusters < 2,
  'one item': item => item === 77,
  none: () => false,
}

function allowing(passes: (item: number) => boolean): NonNullable<WireQuery['allowed']> {
  return allowedOf(
    Array.from({ length: items }, (_, item) => item).filter(item => passes(item)),
    items,
  )
}

describe('a layout of log segments and item segments', () => {
  test.each([1, 10, 100])('the best %i items are found', k => {
    expect(
      recall(
        layout,
        Array.from({ length: 40 }, () => queryOf({ k })),
      ),
    ).toBeGreaterThanOrEqual(0.99)
  })

  test.each(Object.entries(filters))('the best items are found among those allowed: %s', (_, passes) => {
    const allowed = allowing(passes)
    const queries = Array.from({ length: 40 }, (_, i) => queryOf({ allowed, k: 1 + (i % 20), exclude: i }))
    expect(layout.answer(queries[0]!)).not.toBe(null)
    if (layout.rows.some(({ item, word }) => word === 0 && passes(item)))
      expect(recall(layout, queries)).toBeGreaterThanOrEqual(0.98)
    else for (const query of queries) expectSound(layout.answer(query)!, layout.rows, query)
  })

  test('every snapshot sees its own rows', () => {
    for (let sequence = now - 4; sequence <= now + 4; sequence++) {
      const query = queryOf({ k: 20 })
      expectSound(layout.answer(query, sequence)!, layout.rows, query, sequence)
      expect(layout.exact(query, sequence).hits).toEqual(naiveHits(layout.rows, sequence, query, ties))
    }
  })

  test('exact answers are the naive ones, in slices of any size', () => {
    for (const passes of [() => true, ...Object.values(filters)]) {
      const query = queryOf({ k: 1 + below(300), exclude: below(items), allowed: allowing(passes) })
      for (const allowed of [query.allowed, null]) {
        const answer = layout.exact({ ...query, allowed }, now, 1 + below(8_192))
        expect(answer.hits).toEqual(naiveHits(layout.rows, now, { ...query, allowed }, ties))
        expect(answer.plan.kind).toBe('exact')
      }
    }
  })

  test('as many as there are when more are asked for, and it says that these are all', () => {
    const all = naiveHits(layout.rows, now, queryOf({ k: Number.POSITIVE_INFINITY }), ties).length
    for (const k of [all - 1, all, all + 1, 4_000]) {
      const query = queryOf({ k })
      const answer = layout.answer(query) ?? layout.exact(query)
      expectSound(answer, layout.rows, query)
      expect(answer.complete).toBe(k >= all)
    }
    const few = queryOf({ allowed: allowing(item => item % 500 === 0), k: 50 })
    expect(layout.answer(few)).toMatchObject({ complete: true, plan: { kind: 'scan' } })
  })

  test('a filter that says less or more than its bits changes the plan and not the answer', () => {
    for (const count of [0, 1, items, 10 * items, -5]) {
      const query = queryOf({ allowed: { ...allowing(item => item % 3 === 0), count } })
      expectSound(layout.answer(query)!, layout.rows, query)
    }
  })

  test('the plan tells what was done', () => {
    const walked = layout.answer(queryOf())!.plan
    expect(walked).toMatchObject({ kind: 'graph', effort: 60, selectivity: 1 })
    expect(walked.segments.map(({ by }) => by)).toEqual(['graph', 'codes', 'codes', 'codes'])
    const listed = layout.answer(queryOf({ allowed: allowing(item => item % 100 === 0) }))!.plan
    expect(listed).toMatchObject({ kind: 'scan', effort: 0, selectivity: 0.01 })
    expect(listed.segments.every(({ by, scored }) => by === 'vectors' && scored < 100)).toBe(true)
  })

  test('nothing comes out of a segment without rows', async () => {
    const empty = await new Layout().add({ order: 'log', rows: setsOf(0, 10) })
    const begun = empty.segments.map(({ segment }) => ({ segment, rows: 0 }))
    for (const allowed of [null, allowing(() => true), allowing(item => item === 1)])
      expect(run.answer(begun, now, queryOf({ allowed }))).toMatchObject({ hits: [], complete: true })
  })

  test('nothing comes out of no segments', () => {
    expect(new Layout().answer(queryOf())).toMatchObject({ hits: [], complete: true })
    expect(new Layout().exact(queryOf())).toMatchObject({ hits: [], complete: true })
  })
})

describe('hard cases', () => {
  test('the rows around the query are all dead: the next ones are found', async () => {
    const dead = await new Layout().add({
      order: 'item',
      hasGraph: true,
      rows: setsOf(0, 3_000, () => 0).map(row => ({ ...row, word: row.item % clusters < 4 ? 1 : 0 })),
    })
    const queries = Array.from({ length: 40 }, (_, i) => queryOf({ vector: source.query(i % 4) }))
    expect(recall(dead, queries)).toBeGreaterThanOrEqual(0.98)
  })

  test('one item has most of the rows around the query: k other items are found', async () => {
    const rows = setsOf(0, 2_000, () => 0).filter(({ item }) => item !== 5)
    const crowded = await new Layout().add({ order: 'item', hasGraph: true, rows: [...rows, ...setOf(5, 255, 0)] })
    const amongThem = Array.from({ length: 20 }, () => queryOf({ vector: source.query(5) }))
    expect(recall(crowded, amongThem)).toBeGreaterThanOrEqual(0.99)
    const others = Array.from({ length: 20 }, () => queryOf({ vector: source.query(5), exclude: 5 }))
    expect(recall(crowded, others)).toBeGreaterThanOrEqual(0.99)
  })

  test('more rows than a scan gives belong to fewer than k items: only an exact search tells', async () => {
    const rows = Array.from({ length: 40 }, (_, item) => setOf(item, 230, 0)).flat()
    const wide = await new Layout().add({ order: 'log', rows })
    const query = queryOf({ k: 41 })
    expect(wide.answer(query)).toBe(null)
    expectSound(wide.exact(query), wide.rows, query)
  })

  test('vectors on disk give the same answers as vectors in memory', async () => {
    const rows = setsOf(0, 2_500)
    const inMemory = await new Layout().add({ order: 'item', rows })
    const onDisk = await new Layout().add({ order: 'item', rows, isCompressed: true })
    const allowed = [null, ...Object.values(filters).map(allowing)]
    for (const query of allowed.flatMap(each => [queryOf({ allowed: each }), queryOf({ allowed: each, k: 60 })])) {
      expect(onDisk.answer(query)).toEqual(inMemory.answer(query))
      expect(onDisk.exact(query)).toEqual(inMemory.exact(query))
    }
    onDisk.segments[0]!.segment.close()
  })
})

describe('a graph that is worth walking with a filter', () => {
  const many = 44_000
  const large = new Layout()
  const shares: Readonly<Record<string, (item: number) => boolean>> = {
    'at random': item => (item * 7_919) % 100 < 85,
    'by cluster': item => item % clusters >= 6,
  }

  beforeAll(async () => {
    const rows = Array.from({ length: many }, (_, item) => setOf(item, 1, 0)).flat()
    await large.add({ order: 'item', hasGraph: true, expansionAdd: 32, items: many, rows })
  })

  test.each(Object.entries(shares))('85 of a hundred items, %s, wherever the query is', (_, passes) => {
    const list = Array.from({ length: many }, (_, item) => item).filter(passes)
    const allowed = allowedOf(list, many)
    const kinds = new Set<string>()
    let found = 0
    const queries = Array.from({ length: 40 }, (_, i) =>
      queryOf({ allowed, effort: 24, k: 5, vector: source.query(i) }),
    )
    for (const query of queries) {
      const answer = large.answer(query)!
      const best = large.exact(query).hits.map(({ item }) => item)
      found += answer.hits.filter(({ item }) => best.includes(item)).length
      kinds.add(answer.plan.kind)
    }
    expect(found / (5 * queries.length)).toBeGreaterThanOrEqual(0.98)
    expect(kinds).toContain('graph')
    if (passes === shares['by cluster']) expect(kinds).toContain('scan')
  })
})
