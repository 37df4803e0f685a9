import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asOffset, asPartition, type ItemId, parseItemId, type TopicEpoch } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import { digestBuckets, elementText, objectsElement, setElement } from '../../schemas/partition-digest.ts'
import type { ItemAtCut } from '../../schemas/shard-api.ts'
import { ShardFiles } from '../files/shard-files.ts'
import type { DigestCut } from './digest-cuts.ts'
import { mutation } from './testing/item-arbitraries.ts'
import type { ItemModel } from './testing/item-model.ts'
import { ModelledStore } from './testing/store-comparison.ts'
import { inTemporaryDirectory } from './testing/temporary-directory.ts'

const partition = asPartition(0)
const epoch = '00000000000000aa' as TopicEpoch
const ids = Array.from({ length: 12 }, (_, i) => parseItemId(`item-${i}`))
const mutations = fc.array(mutation(fc.constantFrom(...ids), 40), { maxLength: 40 })

/** What the model says of an item at a cut, from its registers alone. */
function expectedAt({ items }: ItemModel, itemId: ItemId, offset: number): ItemAtCut {
  const item = items.get(itemId)
  if (item === undefined) return { itemId, attributes: asOffset(-1), objects: null, failed: false, ahead: false }
  const isLive = item.attributesOffset > item.removalOffset
  const isSearchable = isLive && item.objectsOffset > item.removalOffset
  const newest = Math.max(item.attributesOffset, item.objectsOffset, item.removalOffset, item.failureOffset)
  return {
    itemId,
    attributes: asOffset(isLive ? item.attributesOffset : -1),
    objects: isSearchable ? elementText(objectsElement(itemId, item.objects!.imageIdentity)) : null,
    failed: isLive && (!isSearchable || item.failureOffset > item.objectsOffset),
    ahead: newest > offset,
  }
}

async function whileCut(
  steps: { readonly before: readonly RegisterMutation[]; readonly after: readonly RegisterMutation[]; offset: number },
  check: (cut: DigestCut, then: ItemModel, modelled: ModelledStore) => void,
): Promise<void> {
  await inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory))
    for (const each of steps.before) modelled.apply(each)
    const then = modelled.model.copy()
    const cut = modelled.store.beginCut(partition, asOffset(steps.offset))
    for (const each of steps.after) modelled.apply(each)
    await modelled.store.forgetRemoved(Number.MAX_SAFE_INTEGER, () => true)
    check(cut, then, modelled)
    modelled.store.endCut(cut)
    await modelled.store.close()
  })
}

const steps = fc.record({ before: mutations, after: mutations, offset: fc.nat(40) })

test('a cut tells every item, digest and bucket as of its moment, whatever is applied or forgotten later', async () => {
  await fc.assert(
    fc.asyncProperty(steps, given =>
      whileCut(given, (cut, then) => {
        const expected = ids.map(itemId => expectedAt(then, itemId, given.offset))
        expect(cut.items(ids)).toEqual(expected)
        const listed = expected.filter(({ ahead, failed }) => ahead || failed)
        expect(byId(cut.listed)).toEqual(byId(listed))
        const live = Array.from({ length: digestBuckets }, (_, bucket) => cut.bucket(bucket)).flat()
        expect(byId(live)).toEqual(byId(expected.filter(({ attributes }) => attributes >= 0)))
      }),
    ),
    { numRuns: 60 },
  )
})

test('the digests of a cut are the sums over its items', async () => {
  await fc.assert(
    fc.asyncProperty(steps, given =>
      whileCut(given, cut => {
        const live = cut.items(ids).filter(({ attributes }) => attributes >= 0)
        const sets = live.map(({ itemId, attributes }) => elementText(setElement(itemId, epoch, attributes)))
        const { set, objects } = cut.digests.total()
        expect([set, objects]).toEqual([sumOf(sets), sumOf(live.flatMap(item => item.objects ?? []))])
      }),
    ),
    { numRuns: 60 },
  )
})

test('another partition has no cut here', async () => {
  await whileCut({ before: [], after: [], offset: 0 }, (_, __, { store }) => {
    expect(() => store.beginCut(asPartition(1), asOffset(0))).toThrow(expect.objectContaining({ code: 'bad-request' }))
  })
})

function sumOf(elements: readonly string[]): string {
  const sum = elements.reduce((total, element) => total + BigInt(`0x${element}`), 0n) % 2n ** 128n
  return sum.toString(16).padStart(32, '0')
}

function byId(items: readonly ItemAtCut[]): readonly ItemAtCut[] {
  return [...items].sort((a, b) => (a.itemId < b.itemId ? -1 : 1))
}
