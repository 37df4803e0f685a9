import { expect, test } from 'vitest'
import { parseItemId } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from '../testing/shard-on-log.ts'
import type { DiskItemStore } from './disk-item-store.ts'
import { hitsOf, registersOf } from './item-answers.ts'
import { ModelledStore } from './testing/store-comparison.ts'
import { inTemporaryDirectory } from './testing/temporary-directory.ts'

const vector = Float32Array.of(1, 0)
const lamp = parseItemId('lamp')
const times = { attributesMs: 1, objectsMs: null, removalMs: null, failureMs: null }

/** A lamp with two objects, searched; then `since` happens, then the hit of its second object is answered. */
async function answerAfter(
  since: readonly RegisterMutation[],
  filter?: SearchFilter,
): Promise<ReturnType<typeof hitsOf>> {
  return withStore(async ({ store, apply }) => {
    apply(attributesPut('lamp', 1))
    apply(objectsPut('lamp', 1, [vector, vector]))
    const view = store.view()
    for (const mutation of since) apply(mutation)
    return hitsOf([{ item: 0, object: 1, score: 0.5 }], { items: store, view, filter })
  })
}

async function withStore<Result>(
  use: (opened: { store: DiskItemStore; apply: (mutation: RegisterMutation) => void }) => Promise<Result>,
): Promise<Result> {
  return inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory))
    const result = await use({ store: modelled.store, apply: mutation => modelled.apply(mutation) })
    await modelled.store.close()
    return result
  })
}

test('a hit shows the objects that were searched with the newest attributes', async () => {
  const { hits, dropped } = await answerAfter([
    objectsPut('lamp', 2, [vector]),
    attributesPut('lamp', 3, { price: 99 }),
  ])
  expect(hits).toMatchObject([
    { itemId: 'lamp', similarity: 0.5, object: { label: 'v1', box: [0, 0, 1, 1] }, item: { price: 99, version: 3 } },
  ])
  expect(dropped).toBe(0)
})

test('an item removed since the search is dropped; published again it has returned', async () => {
  const removed = [itemRemoved('lamp', 2), attributesPut('lamp', 3)]
  expect(await answerAfter(removed)).toEqual({ hits: [], dropped: 1, returned: 0 })
  const again = [...removed, objectsPut('lamp', 3, [vector])]
  expect(await answerAfter(again)).toEqual({ hits: [], dropped: 1, returned: 1 })
})

test('an item that stopped passing the filter since the search is dropped', async () => {
  expect((await answerAfter([], { available: true })).hits).toHaveLength(1)
  const changed = await answerAfter([attributesPut('lamp', 2, { available: false })], { available: true })
  expect(changed).toEqual({ hits: [], dropped: 1, returned: 0 })
})

test('an item that was forgotten since the search is dropped', async () => {
  await withStore(async ({ store, apply }) => {
    apply(attributesPut('lamp', 1))
    apply(objectsPut('lamp', 1, [vector]))
    const view = store.view()
    apply(itemRemoved('lamp', 2))
    await store.forgetRemoved(Number.MAX_SAFE_INTEGER, () => true)
    expect(hitsOf([{ item: 0, object: 0, score: 1 }], { items: store, view, filter: undefined }).dropped).toBe(1)
  })
})

test('hits tell of an item by the same objects until it changes, and then by what it is', async () => {
  await withStore(async ({ store, apply }) => {
    apply(attributesPut('lamp', 1))
    apply(objectsPut('lamp', 1, [vector, vector]))
    const told = () => {
      const view = store.view()
      const { hits } = hitsOf([{ item: 0, object: 1, score: 0.5 }], { items: store, view, filter: undefined })
      view.end()
      return hits[0]!
    }
    const changes = [
      { put: attributesPut('lamp', 2, { price: 7 }), item: { price: 7, version: 2, stale: false }, label: 'v1' },
      { put: workFailed('lamp', 3), item: { version: 2, stale: true }, label: 'v1' },
      { put: objectsPut('lamp', 3, [vector, vector]), item: { version: 2, stale: false }, label: 'v3' },
    ]
    for (const { put, item, label } of changes) {
      const before = told()
      expect(told().item).toBe(before.item)
      expect(told().object).toBe(before.object)
      apply(put)
      expect(told()).toMatchObject({ item, object: { label } })
    }
  })
})

test('registers of an item: unknown, pending, searchable and stale, removed', async () => {
  await withStore(async ({ store, apply }) => {
    const registers = () => registersOf(store, lamp, { times, watermark: 7 })
    expect(registers()).toMatchObject({ attributes: -1, removal: -1, searchable: false, snapshot: null, watermark: 7 })
    apply(attributesPut('lamp', 1))
    expect(registers()).toMatchObject({ attributes: 1, searchable: false, objectList: [], snapshot: { stale: false } })
    apply(objectsPut('lamp', 1, [vector, vector]))
    apply(workFailed('lamp', 2))
    expect(registers()).toMatchObject({
      objects: 1,
      failure: 2,
      searchable: true,
      failureDetail: { code: 'image-not-found', retryable: false },
      snapshot: { itemId: 'lamp', stale: true, imageDigests: ['a'.repeat(64)] },
      times,
    })
    expect(registers().objectList).toHaveLength(2)
    apply(itemRemoved('lamp', 3))
    expect(registers()).toMatchObject({
      removal: 3,
      searchable: false,
      objectList: [],
      snapshot: null,
      failureDetail: null,
    })
  })
})
