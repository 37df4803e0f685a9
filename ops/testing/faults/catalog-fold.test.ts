import { expect, test } from 'vitest'
import { asOffset, asPartition, type ItemId, type TopicEpoch } from '../../../schemas/ids.ts'
import { seededRandom } from '../../../shard-node/testing/seeded-random.ts'
import { type Acknowledged, CatalogFold } from './catalog-fold.ts'
import { categoriesOf, EventGenerator, type ItemEvent } from './event-generator.ts'

const epoch = '0123456789abcdef' as TopicEpoch
const chair = 'chair' as ItemId

function upsert(title: string, images: readonly string[], imageVersion = ''): ItemEvent {
  const attributes = { category: 'a', price: 1, currency: 'EUR', regions: [], available: true, attributes: {} }
  return { type: 'ItemUpserted', itemId: chair, images, imageVersion, refresh: false, title, ...attributes }
}

function fold(events: readonly (ItemEvent | null)[], partition = asPartition(0)): CatalogFold {
  const catalog = new CatalogFold()
  events.forEach((event, offset) => {
    catalog.apply({ partition, offset: asOffset(offset), itemId: event?.itemId ?? chair, event })
  })
  return catalog
}

test('the last event counts; a picture counts from the event that introduced it', () => {
  const [first, second] = [upsert('one', ['a']), upsert('two', ['a'])]
  expect(fold([first, second]).items.get(chair)!.live).toMatchObject({ attributesOffset: 1, introducedOffset: 0 })
  expect(fold([first, upsert('new version', ['a'], '2')]).items.get(chair)!.live).toMatchObject({ introducedOffset: 1 })
  expect(fold([first, null]).items.get(chair)).toMatchObject({ offset: 1, live: null })
  expect(fold([first, null, second]).items.get(chair)!.live).toMatchObject({ introducedOffset: 2 })
})

test('digests tell every difference: a version, a picture, an item too many', () => {
  const digestOf = (events: readonly (ItemEvent | null)[]) => fold(events).digestOf(asPartition(0), epoch)
  const [base, again] = [digestOf([upsert('one', ['a'])]), digestOf([upsert('one', ['a']), upsert('two', ['a'])])]
  expect(again.set).not.toBe(base.set)
  expect(again.objects).toBe(base.objects)
  expect(digestOf([upsert('one', ['b'])]).objects).not.toBe(base.objects)
  expect(digestOf([upsert('one', ['a']), null])).toEqual(new CatalogFold().digestOf(asPartition(0), epoch))
  expect(fold([upsert('one', ['a'])]).digestOf(asPartition(1), epoch)).toEqual(digestOf([]))
})

test('an acknowledged event that the catalog lacks is found, and one that is another', () => {
  const catalog = fold([upsert('one', ['a']), upsert('two', ['a']), null])
  const at = (offset: number, title: string | null): Acknowledged => {
    return { partition: asPartition(0), offset: asOffset(offset), itemId: chair, title }
  }
  expect(catalog.missing([at(0, 'one'), at(1, 'two'), at(2, null)])).toEqual([])
  expect(catalog.missing([at(3, 'three')])).toEqual(['the acknowledged event at 0@3 is lost'])
  expect(catalog.missing([at(1, 'other')])).toEqual(['at 0@1 there is not the event that was acknowledged'])
  expect(catalog.missing([at(1, 'two'), at(1, 'two')])).toEqual(['two acknowledged events have place 0@1'])
  const compacted = new CatalogFold()
  compacted.apply({ partition: asPartition(0), offset: asOffset(5), itemId: chair, event: null })
  expect(compacted.missing([at(4, 'four')])).toEqual([])
})

test('the generator gives the same events for a seed, of every kind, in categories that a search can return whole', () => {
  const make = (seed: number) =>
    new EventGenerator({ random: seededRandom(seed), items: 250, pictures: ['a', 'b', 'c'] }).take(3_000)
  expect(make(1)).toEqual(make(1))
  expect(make(2)).not.toEqual(make(1))
  const byCategory = new Map<string, Set<string>>()
  const deleted = new Set<string>()
  let comebacks = 0
  for (const event of make(1)) {
    if (event.type === 'ItemDeleted') deleted.add(event.itemId)
    else {
      if (deleted.delete(event.itemId)) comebacks++
      byCategory.set(event.category, (byCategory.get(event.category) ?? new Set()).add(event.itemId))
    }
  }
  expect([...byCategory.keys()].sort()).toEqual(categoriesOf(250))
  expect(Math.max(...[...byCategory.values()].map(({ size }) => size))).toBeLessThanOrEqual(100)
  expect(comebacks).toBeGreaterThan(50)
})
