import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeF16, dot, encodeF16 } from '../../schemas/unit-vector.ts'
import type { AllowedBits, IndexQuery, VectorIndex } from '../vector-index.ts'
import { seededRandom } from './seeded-random.ts'
import { subspaceVectors } from './subspace-vectors.ts'

export const contractDims = 64
const clusters = 8

export interface VectorIndexContract {
  /** Opens an empty index of `contractDims` dimensions. */
  readonly open: (ties: Uint32Array) => Promise<VectorIndex>
  /** Brings an index into the state it is to be searched in. */
  readonly arrange?: (index: VectorIndex) => Promise<void>
}

/** The item's tie key in all tests: not in the order of the numbers. */
export function tieOf(item: number): number {
  return Math.imul(item + 1, 0x9e3779b1) >>> 0
}

export function tieKeys(items: number): Uint32Array {
  return Uint32Array.from({ length: items }, (_, item) => tieOf(item))
}

export function queryOf(vector: Float32Array, options: Partial<IndexQuery> = {}): IndexQuery {
  return { vector, k: 10, exact: false, allowed: null, exclude: -1, ...options }
}

/** A bitmap of the items, as a filter gives it. */
export function bitsOf(items: readonly number[], limit: number): AllowedBits {
  const bits = new Uint32Array(new SharedArrayBuffer(((limit >> 5) + 1) * 4))
  for (const item of items) bits[item >>> 5]! |= 1 << (item & 31)
  return { bits, count: items.length }
}

/** What every vector index does, whatever it is made of. */
export function testVectorIndex(name: string, contract: VectorIndexContract): void {
  const vectors = subspaceVectors({ seed: 17, dims: contractDims, clusters, spread: 0.8 })
  const opened: VectorIndex[] = []
  const open = async (): Promise<VectorIndex> => {
    const index = await contract.open(tieKeys(4_096))
    opened.push(index)
    return index
  }
  const arranged = async (index: VectorIndex): Promise<VectorIndex> => {
    await contract.arrange?.(index)
    return index
  }
  afterAll(async () => {
    await Promise.all(opened.map(index => index.close()))
  })

  describe(name, () => {
    describe('of 1,000 items with one to three objects each', () => {
      const items = 1_000
      const sets = Array.from({ length: items }, (_, item) =>
        joined(Array.from({ length: 1 + (item % 3) }, () => vectors.bytes(item % clusters))),
      )
      const query = vectors.query(3)
      let index: VectorIndex
      beforeAll(async () => {
        index = await open()
        sets.forEach((set, item) => {
          index.put(item, { vectors: set, visible: true })
        })
        await arranged(index)
      })

      test('an exact search returns the items by their best objects, best first', async () => {
        const expected = sets
          .map((set, item) => ({ item, ...bestObject(set, query) }))
          .sort((a, b) => b.score - a.score || tieOf(a.item) - tieOf(b.item))
        const { hits, complete, plan } = await index.search(queryOf(query, { exact: true, k: 50 }))
        expect(hits).toEqual(expected.slice(0, 50))
        expect(complete).toBe(false)
        expect(plan.kind).toBe('exact')
      })

      test('a search returns k items, nearly all of them the nearest, with exact scores', async () => {
        let found = 0
        for (let i = 0; i < 20; i++) {
          const vector = vectors.query(i % clusters)
          const { hits } = await index.search(queryOf(vector))
          const truth = await index.search(queryOf(vector, { exact: true }))
          const nearest = new Set(truth.hits.map(hit => hit.item))
          expect(hits).toHaveLength(10)
          for (const { item, object, score } of hits)
            expect(score).toBe(dot(vector, decodeF16(rowOf(sets[item]!, object))))
          found += hits.filter(hit => nearest.has(hit.item)).length
        }
        expect(found).toBeGreaterThanOrEqual(195)
      })

      test('k beyond what exists returns every item once', async () => {
        const { hits, complete } = await index.search(queryOf(query, { k: items + 5 }))
        expect(new Set(hits.map(hit => hit.item)).size).toBe(items)
        expect(hits).toHaveLength(items)
        expect(complete).toBe(true)
      })

      test('a filter lets only allowed items out and still finds k', async () => {
        for (const isAllowed of [
          (item: number) => item % 2 === 0,
          (item: number) => item % clusters < 2,
          (item: number) => item % 97 === 0,
        ]) {
          const allowed = bitsOf(Array.from(sets.keys()).filter(isAllowed), items)
          const { hits } = await index.search(queryOf(query, { allowed }))
          const truth = await index.search(queryOf(query, { allowed, exact: true }))
          expect(hits).toHaveLength(10)
          expect(hits.filter(hit => truth.hits.some(other => other.item === hit.item)).length).toBeGreaterThanOrEqual(9)
          expect(truth.hits.every(hit => isAllowed(hit.item))).toBe(true)
        }
      })

      test('a filter that allows fewer than k items returns them all; one that allows none, none', async () => {
        const few = await index.search(queryOf(query, { allowed: bitsOf([5, 900], items) }))
        expect(few.hits.map(hit => hit.item).sort((a, b) => a - b)).toEqual([5, 900])
        expect(few.complete).toBe(true)
        const none = await index.search(queryOf(query, { allowed: bitsOf([], items) }))
        expect(none.hits).toEqual([])
        expect(none.complete).toBe(true)
      })

      test('bits that change count for the next search; items beyond the bitmap are not allowed', async () => {
        const allowed = bitsOf([1, 2], 64)
        const only = async (): Promise<number[]> =>
          (await index.search(queryOf(query, { allowed }))).hits.map(hit => hit.item).sort((a, b) => a - b)
        expect(await only()).toEqual([1, 2])
        allowed.bits[0]! ^= (1 << 2) | (1 << 7)
        expect(await only()).toEqual([1, 7])
      })

      test('the excluded item is left out and its place taken', async () => {
        const exact = queryOf(query, { exact: true, k: 3 })
        const [first, second, third] = (await index.search(exact)).hits
        const without = await index.search({ ...exact, k: 2, exclude: first!.item })
        expect(without.hits).toEqual([second, third])
        const approximate = await index.search(queryOf(query, { exclude: first!.item }))
        expect(approximate.hits.map(hit => hit.item)).not.toContain(first!.item)
        expect(approximate.hits).toHaveLength(10)
      })

      test('a batch answers as the searches one by one do', async () => {
        const queries = [queryOf(query), queryOf(vectors.query(1), { exact: true }), queryOf(query, { k: 3 })]
        const batch = await index.searchBatch(queries)
        const single = await Promise.all(queries.map(each => index.search(each)))
        expect(batch.map(answer => answer.hits)).toEqual(single.map(answer => answer.hits))
      })

      test('an object’s vector comes back as it was put', () => {
        expect(index.vectorOf(2, 1)).toEqual(decodeF16(rowOf(sets[2]!, 1)))
        expect(index.vectorOf(2, 3)).toBeNull()
        expect(index.vectorOf(items, 0)).toBeNull()
      })

      test('statistics count the rows and their lengths', () => {
        const { rows, tombstones, normMin, normMax, normMean } = index.statistics()
        expect(rows).toBe(1_999)
        expect(tombstones).toBe(0)
        expect(normMin).toBeGreaterThan(0.98)
        expect(normMax).toBeLessThan(1.02)
        expect(normMean).toBeCloseTo(1, 2)
      })
    })

    test('equal scores come in the order of the tie key, equal objects of an item in their own', async () => {
      const index = await open()
      const vector = vectors.bytes(0)
      for (let item = 0; item < 40; item++) index.put(item, { vectors: joined([vector, vector]), visible: true })
      await arranged(index)
      const byTie = Array.from({ length: 40 }, (_, item) => item).sort((a, b) => tieOf(a) - tieOf(b))
      const { hits } = await index.search(queryOf(decodeF16(vector), { exact: true, k: 15 }))
      expect(hits.map(hit => hit.item)).toEqual(byTie.slice(0, 15))
      expect(hits.every(hit => hit.object === 0)).toBe(true)
      const approximate = (await index.search(queryOf(decodeF16(vector), { k: 15 }))).hits.map(hit => hit.item)
      expect(approximate).toEqual(byTie.filter(item => approximate.includes(item)))
      expect(approximate).toHaveLength(15)
    })

    test('each search sees what was put, hidden, shown and removed before it', async () => {
      const index = await open()
      const near = axis(0)
      const query = decodeF16(near)
      const seen = async (): Promise<readonly number[]> => {
        const answers = await index.searchBatch([queryOf(query), queryOf(query, { exact: true })])
        expect(answers[0]?.hits).toEqual(answers[1]?.hits)
        return answers[0]!.hits.map(hit => hit.item)
      }
      index.put(7, { vectors: near, visible: true })
      expect(await seen()).toEqual([7])
      index.setVisible(7, false)
      expect(await seen()).toEqual([])
      expect(index.vectorOf(7, 0)).toBeNull()
      index.setVisible(7, true)
      expect(await seen()).toEqual([7])
      index.put(8, { vectors: near, visible: false })
      expect(await seen()).toEqual([7])
      index.setVisible(8, true)
      expect((await seen()).length).toBe(2)
      index.remove(7)
      expect(await seen()).toEqual([8])
      expect(index.statistics().rows).toBe(1)
      index.remove(7)
      index.setVisible(7, true)
      expect(await seen()).toEqual([8])
      index.put(7, { vectors: joined([axis(1), axis(2)]), visible: true })
      const answer = await index.search(queryOf(decodeF16(axis(2)), { k: 1 }))
      expect(answer.hits).toEqual([{ item: 7, object: 1, score: 1 }])
    })

    test('ordinals grow by one per row', async () => {
      const index = await open()
      const first = index.put(3, { vectors: joined([axis(0), axis(1)]), visible: true })
      expect(index.put(4, { vectors: axis(2), visible: false })).toBe(first + 2)
      expect(index.put(3, { vectors: axis(2), visible: true })).toBe(first + 3)
    })

    test('while sets are replaced, a search sees each as it was at one moment', async () => {
      const index = await open()
      const random = seededRandom(5)
      const items = 60
      const versions = new Uint32Array(items)
      for (let item = 0; item < items; item++) index.put(item, { vectors: versioned(0), visible: true })
      const queries = [
        queryOf(decodeF16(axis(0)), { k: items }),
        queryOf(decodeF16(axis(1)), { k: items, exact: true }),
      ]
      for (let round = 0; round < 60; round++) {
        const searches = [index.searchBatch(queries), index.searchBatch([...queries].reverse())]
        const asSent = versions.slice()
        for (let i = 0; i < 25; i++) {
          const item = Math.floor(random() * items)
          versions[item]!++
          index.put(item, { vectors: versioned(versions[item]!), visible: true })
        }
        const [[first, second], [fourth, third]] = (await Promise.all(searches)) as [Answers, Answers]
        for (const answer of [first!, third!]) expectVersions(answer, asSent, 0)
        for (const answer of [second!, fourth!]) expectVersions(answer, asSent, 1)
      }
    })

    test('a signal that has fired rejects with its reason; a closed index with not-ready', async () => {
      const index = await open()
      index.put(0, { vectors: axis(0), visible: true })
      const reason = new Error('no longer wanted')
      const query = queryOf(decodeF16(axis(0)))
      await expect(index.search(query, AbortSignal.abort(reason))).rejects.toBe(reason)
      expect((await index.search(query)).hits).toHaveLength(1)
      await index.close()
      await expect(index.search(query)).rejects.toMatchObject({ code: 'not-ready' })
      await expect(index.searchBatch([query])).rejects.toMatchObject({ code: 'not-ready' })
      await index.close()
    })
  })
}

type Answers = Awaited<ReturnType<VectorIndex['searchBatch']>>

/** Two objects that tell the version from the score against axis 0 or axis 1. */
function versioned(version: number): Uint8Array {
  const mark = (1 + (version % 32)) / 64
  const marked = [along(0, mark), along(1, mark)]
  for (const vector of marked) vector[2] = Math.round(Math.sqrt(1 - mark * mark) * 1024) / 1024
  return joined(marked.map(encodeF16))
}

function expectVersions(answer: Answers[number], versions: Uint32Array, object: number): void {
  const found = new Map(answer.hits.map(hit => [hit.item, hit]))
  expect(found.size).toBe(versions.length)
  for (const [item, version] of versions.entries())
    expect(found.get(item)).toEqual({ item, object, score: (1 + (version % 32)) / 64 })
}

function along(axisNumber: number, length: number): Float32Array {
  const vector = new Float32Array(contractDims)
  vector[axisNumber] = length
  return vector
}

function axis(axisNumber: number): Uint8Array {
  return encodeF16(along(axisNumber, 1))
}

export function joined(vectors: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(vectors))
}

function rowOf(set: Uint8Array, object: number): Uint8Array {
  return set.subarray(object * contractDims * 2, (object + 1) * contractDims * 2)
}

function bestObject(set: Uint8Array, query: Float32Array): { readonly object: number; readonly score: number } {
  let best = { object: 0, score: Number.NEGATIVE_INFINITY }
  for (let object = 0; object * contractDims * 2 < set.length; object++) {
    const score = dot(query, decodeF16(rowOf(set, object)))
    if (score > best.score) best = { object, score }
  }
  return best
}
