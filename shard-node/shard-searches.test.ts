import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { categoryToken } from './items/filter-tokens.ts'
import { SegmentedIndex } from './segments/segmented-index.ts'
import { clusteredVectors } from './testing/clustered-vectors.ts'
import { attributesPut, itemRemoved, objectsPut, ShardOnLog } from './testing/shard-on-log.ts'

const dims = 16
let shard: ShardOnLog

beforeEach(async () => {
  shard = await ShardOnLog.create(dims)
  await shard.open()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await shard.dispose()
})

/** Two categories that are the same to the filter's bits. */
function sameToken(): readonly [string, string] {
  const byToken = new Map<number, string>()
  for (let i = 0; ; i++) {
    const category = `category ${i}`
    const other = byToken.get(categoryToken(category))
    if (other !== undefined) return [other, category]
    byToken.set(categoryToken(category), category)
  }
}

test('an item that only the bits of a filter let through is not found, and the search ends', async () => {
  const [stored, asked] = sameToken()
  const vectors = clusteredVectors({ seed: 3, dims, clusters: 1, spread: 0.6 })
  await shard.apply(
    ...[0, 1, 2].flatMap(i => [
      attributesPut(`item-${i}`, i, { category: stored }),
      objectsPut(`item-${i}`, i, [vectors.next(0)]),
    ]),
  )
  await shard.apply(attributesPut('other', 9, { category: asked }), objectsPut('other', 9, [vectors.next(0)]))
  const { hits } = await shard.search(vectors.next(0), { filter: { category: [asked] } })
  expect(hits.map(({ itemId }) => itemId)).toEqual(['other'])
})

/** Does these, one for each of the index's next answers, before the answer is joined with what is known of the items. */
function meanwhile(...changes: readonly (() => Promise<void>)[]): void {
  const { searchBatch } = SegmentedIndex.prototype
  const remaining = [...changes]
  vi.spyOn(SegmentedIndex.prototype, 'searchBatch').mockImplementation(async function (this: SegmentedIndex, ...args) {
    const answers = await searchBatch.apply(this, args)
    await remaining.shift()?.()
    return answers
  })
}

test('an item that was removed and is there again is not missing where enough others were found', async () => {
  const query = new Float32Array(dims)
  query[0] = 1
  const vectorOf = (similarity: number): Float32Array => {
    const vector = new Float32Array(dims)
    vector[0] = similarity
    vector[1] = Math.sqrt(1 - similarity ** 2)
    return vector
  }
  const names = ['best', 'second', 'third', 'fourth', 'fifth', 'sixth']
  const vectors = names.map((_, i) => vectorOf(1 - i / 10))
  const put = (i: number, offset: number) => [
    attributesPut(names[i]!, offset),
    objectsPut(names[i]!, offset, [vectors[i]!]),
  ]
  await shard.apply(...names.flatMap((_, i) => put(i, i)))
  meanwhile(
    () => shard.apply(itemRemoved('best', 10)),
    () => shard.apply(itemRemoved('second', 11), ...put(1, 12)),
  )
  const { hits } = await shard.search(query, { k: 3, exact: true })
  expect(hits.map(({ itemId, object }) => `${itemId} ${object.label}`)).toEqual(['second v12', 'third v2', 'fourth v3'])
})
