import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import type { ShardHit } from '../../schemas/shard-api.ts'
import { hit } from '../testing/gateway-fixture.ts'
import { compareHits, mergeHits } from './merge-hits.ts'

const made = (id: string, similarity: number, version = 1): { readonly hit: ShardHit } => {
  const plain = hit(id, similarity)
  return { hit: { ...plain, item: { ...plain.item, version: asOffset(version) } } }
}
const inOrder = (list: readonly { readonly hit: ShardHit }[]) => [...list].sort((a, b) => compareHits(a.hit, b.hit))
/** Few ids, so that items are on several shards, and few values, so that there are ties. */
const anyHit = fc
  .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 3 }))
  .map(([id, similarity, version]) => made(`i${id}`, similarity / 10, version))
const lists = fc.array(
  fc.uniqueArray(anyHit, { maxLength: 30, selector: ({ hit: { itemId } }) => itemId }).map(inOrder),
  { maxLength: 5 },
)

test('it is what sorting all of them gives, of each item the newest version', () => {
  fc.assert(
    fc.property(lists, given => {
      const best = new Map<string, { readonly hit: ShardHit }>()
      for (const each of inOrder(given.flat())) {
        const held = best.get(each.hit.itemId)
        if (held === undefined || each.hit.item.version > held.hit.item.version) best.set(each.hit.itemId, each)
      }
      const key = ({ hit: { itemId, similarity, item } }: { readonly hit: ShardHit }) =>
        `${itemId} ${similarity} ${item.version}`
      expect(mergeHits(given, 1_000).map(key)).toEqual(inOrder([...best.values()]).map(key))
    }),
  )
})

test('no more than asked for', () => {
  fc.assert(
    fc.property(lists, fc.nat(50), (given, limit) => {
      const items = new Set(given.flat().map(each => each.hit.itemId))
      expect(mergeHits(given, limit)).toHaveLength(Math.min(limit, items.size))
    }),
  )
})
