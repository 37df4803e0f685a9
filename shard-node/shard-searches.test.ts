import { afterEach, beforeEach, expect, test } from 'vitest'
import { categoryToken } from './items/filter-tokens.ts'
import { clusteredVectors } from './testing/clustered-vectors.ts'
import { attributesPut, objectsPut, ShardOnLog } from './testing/shard-on-log.ts'

const dims = 16
let shard: ShardOnLog

beforeEach(async () => {
  shard = await ShardOnLog.create(dims)
  await shard.open()
})
afterEach(() => shard.dispose())

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
