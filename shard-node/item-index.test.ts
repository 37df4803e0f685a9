import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { dot, encodeF16 } from '../schemas/unit-vector.ts'
import { ExactSegment } from './exact-segment.ts'
import { GraphSegment, writeEmptyGraph } from './graph-segment.ts'
import { ItemIndex, type ItemQuery } from './item-index.ts'
import { clusteredVectors } from './testing/clustered-vectors.ts'

const directory = mkdtempSync(join(tmpdir(), 'freshet-index-'))
const empty = join(directory, 'empty')
afterAll(() => rmSync(directory, { recursive: true }))

function graphIndex(dims: number): ItemIndex {
  const shape = { dims, connectivity: 16, expansionAdd: 64, expansionSearch: 96 }
  writeEmptyGraph(empty, shape)
  return new ItemIndex(dims, () => new GraphSegment(shape, empty))
}

function put(index: ItemIndex, item: number, vectors: readonly Float32Array[], shown = true): void {
  index.apply({ type: 'put', item, tie: item, shown, vectors: Buffer.concat(vectors.map(vector => encodeF16(vector))) })
}

function graphAll(index: ItemIndex): void {
  while (index.advance(64));
}

function query(vector: Float32Array, options: Partial<ItemQuery> = {}): ItemQuery {
  return { vector, k: 10, exact: false, allowed: null, exclude: -1, ...options }
}

function bitmap(items: readonly number[], limit: number): { readonly bits: Uint32Array; readonly count: number } {
  const bits = new Uint32Array((limit >> 5) + 1)
  for (const item of items) bits[item >>> 5]! |= 1 << (item & 31)
  return { bits, count: items.length }
}

function recall(index: ItemIndex, queries: readonly ItemQuery[]): number {
  let found = 0
  let wanted = 0
  for (const each of queries) {
    const truth = index.search({ ...each, exact: true }).hits.map(({ item }) => item)
    const items = new Set(index.search(each).hits.map(({ item }) => item))
    found += truth.filter(item => items.has(item)).length
    wanted += truth.length
  }
  return found / wanted
}

const dims = 256
const clusters = 50
const items = 5_000
const source = clusteredVectors({ seed: 11, dims, clusters, spread: 0.9 })
const large = graphIndex(dims)
for (let item = 0; item < items; item++) put(large, item, [source.next(item % clusters)])
graphAll(large)
const queries = Array.from({ length: 60 }, (_, i) => source.next(i % clusters))

test('the graph finds at least 99% of the exact top ten of 5,000 clustered items', () => {
  expect(large.search(query(queries[0]!)).plan).toBe('graph')
  expect(
    recall(
      large,
      queries.map(vector => query(vector)),
    ),
  ).toBeGreaterThanOrEqual(0.99)
})

test.each([
  ['half of the clusters, anywhere', (item: number) => item % clusters < clusters / 2],
  ['half of the items at random', (item: number) => (item * 7919) % 1_000 < 500],
  ['a tenth at random', (item: number) => (item * 7919) % 1_000 < 100],
  ['one cluster', (item: number) => item % clusters === 3],
])('with %s allowed, every query gets k items, nearly all the right ones', (_, isAllowed) => {
  const allowed = bitmap(Array.from({ length: items }, (_, item) => item).filter(isAllowed), items)
  const filtered = queries.map(vector => query(vector, { allowed }))
  for (const each of filtered) {
    const { hits } = large.search(each)
    expect(hits).toHaveLength(10)
    expect(hits.every(({ item }) => isAllowed(item))).toBe(true)
  }
  expect(recall(large, filtered)).toBeGreaterThanOrEqual(0.99)
})

test('a large k, and one beyond what exists, is answered in full', () => {
  expect(large.search(query(queries[0]!, { k: 200 })).hits).toHaveLength(200)
  const all = large.search(query(queries[0]!, { k: items + 1 }))
  expect(all.hits).toHaveLength(items)
  expect(all.complete).toBe(true)
})

test('most of the rows dead or hidden: still k items, and the nearest', () => {
  const index = graphIndex(16)
  const near = clusteredVectors({ seed: 3, dims: 16, clusters: 1, spread: 0.3 })
  for (let item = 0; item < 3_000; item++) put(index, item, [near.next(0)])
  graphAll(index)
  for (let item = 0; item < 1_900; item++) index.apply({ type: item % 2 ? 'drop' : 'hide', item })
  const { hits, plan } = index.search(query(near.next(0), { k: 20 }))
  expect(plan).toBe('graph')
  expect(hits).toHaveLength(20)
  expect(hits.every(({ item }) => item >= 1_900)).toBe(true)
})

test('rows are found before they are in the graph', () => {
  const index = graphIndex(16)
  const near = clusteredVectors({ seed: 4, dims: 16, clusters: 5, spread: 0.5 })
  const vectors = Array.from({ length: 2_000 }, (_, i) => near.next(i % 5))
  vectors.forEach((vector, item) => {
    put(index, item, [vector])
  })
  expect(index.searched.tail).toBe(2_000)
  expect(index.search(query(vectors[77]!, { k: 1 })).hits[0]?.item).toBe(77)
})

test('rewriting 820 items a hundred times keeps neither dead rows nor memory', () => {
  const index = graphIndex(16)
  const near = clusteredVectors({ seed: 5, dims: 16, clusters: 20, spread: 0.5 })
  const vectors = Array.from({ length: 820 }, (_, i) => near.next(i % 20))
  const write = (): void => {
    vectors.forEach((vector, item) => {
      put(index, item, [vector])
      if (item % 2) index.advance(1)
    })
  }
  write()
  const once = index.statistics().memoryBytes
  for (let round = 1; round < 100; round++) write()
  graphAll(index)
  const { rows, tombstones, memoryBytes } = index.statistics()
  expect(rows).toBe(820)
  expect(tombstones).toBeLessThanOrEqual(1_000)
  expect(memoryBytes).toBeLessThanOrEqual(once * 5)
  expect(index.search(query(vectors[5]!, { k: 1 })).hits[0]?.item).toBe(5)
})

/** Applied to the index and to a plain list of items at once. */
type Step =
  | { readonly type: 'put'; readonly item: number; readonly rows: number; readonly shown: boolean }
  | { readonly type: 'drop' | 'show' | 'hide'; readonly item: number }
  | { readonly type: 'advance'; readonly count: number }

const item = fc.nat(12)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ type: fc.constant('put' as const), item, rows: fc.integer({ min: 1, max: 3 }), shown: fc.boolean() }),
  fc.record({ type: fc.constantFrom('drop' as const, 'show' as const, 'hide' as const), item }),
  fc.record({ type: fc.constant('advance' as const), count: fc.nat(9) }),
)

test.each([
  ['the graph', () => graphIndex(8)],
  ['its exact twin', () => new ItemIndex(8, () => new ExactSegment())],
])('whatever is put, dropped, shown and hidden, %s answers as a plain list of the items does', (_, create) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 15 }), (steps, k) => {
      const random = clusteredVectors({ seed: steps.length, dims: 8, clusters: 6, spread: 1 })
      const index = create()
      const model = new Map<number, { vectors: Float32Array[]; shown: boolean }>()
      for (const each of steps) {
        if (each.type === 'advance') {
          index.advance(each.count)
        } else if (each.type === 'put') {
          const vectors = Array.from({ length: each.rows }, () => random.next(each.item % 6))
          put(index, each.item, vectors, each.shown)
          model.set(each.item, { vectors, shown: each.shown })
        } else {
          index.apply(each)
          const held = model.get(each.item)
          if (each.type === 'drop') model.delete(each.item)
          else if (held !== undefined) held.shown = each.type === 'show'
        }
      }
      const vector = random.next(0)
      const expected = [...model]
        .filter(([, { shown }]) => shown)
        .map(([id, { vectors }]) => ({ item: id, score: Math.max(...vectors.map(each => dot(vector, each))) }))
        .sort((a, b) => b.score - a.score || a.item - b.item)
      const { hits, complete } = index.search(query(vector, { k }))
      expect(hits.map(hit => hit.item)).toEqual(expected.slice(0, k).map(hit => hit.item))
      expect(complete).toBe(expected.length <= k)
      for (const hit of hits) {
        const held = model.get(hit.item)?.vectors[hit.object]
        expect(dot(vector, held!)).toBeCloseTo(hit.score, 6)
      }
    }),
    { numRuns: 200 },
  )
})

test('equal scores come in the order of the tie key, whatever order the items were put in', () => {
  const vector = Float32Array.of(1, 0, 0, 0)
  const tieOf = [30, 10, 20]
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
  ]) {
    const index = graphIndex(4)
    for (const each of order)
      index.apply({ type: 'put', item: each, tie: tieOf[each]!, shown: true, vectors: encodeF16(vector) })
    expect(index.search(query(vector, { k: 2 })).hits.map(hit => hit.item)).toEqual([1, 2])
  }
})

test('the excluded item is left out and its place taken', () => {
  const { hits } = large.search(query(queries[0]!, { k: 1 }))
  const without = large.search(query(queries[0]!, { k: 1, exclude: hits[0]!.item }))
  expect(without.hits).toHaveLength(1)
  expect(without.hits[0]?.item).not.toBe(hits[0]!.item)
})
