import { cp, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parseItemId } from '../../schemas/ids.ts'
import { ShardFiles } from '../files/shard-files.ts'
import type { SavedItemLog } from './item-log.ts'
import { fillGolden } from './testing/golden-log.ts'
import { ModelledStore, openStore } from './testing/store-comparison.ts'
import { inTemporaryDirectory } from './testing/temporary-directory.ts'

const golden = fileURLToPath(new URL('../golden/items-1', import.meta.url))

async function readSaved(): Promise<SavedItemLog> {
  return JSON.parse(await readFile(join(golden, 'saved.json'), 'utf8'))
}

test('the golden item log of format 1 opens with everything in it', async () => {
  const store = await openStore(new ShardFiles(golden), await readSaved())
  expect(store.counts).toEqual({ searchable: 4, pending: 2, failed: 3, deleted: 2, unknown: 2 })
  const lamp = store.find(parseItemId('Lampe 💡'))!
  expect(lamp).toMatchObject({ attributesOffset: 10, objectsOffset: 10, objectCount: 3, standing: 'searchable' })
  expect(store.attributesOf(lamp.item)).toMatchObject({
    title: 'Stehlampe “Ü”',
    price: null,
    attributes: { holz: true },
  })
  expect(store.objectsOf(lamp.item)?.objects.map(({ label }) => label)).toEqual(['v10', 'v10', 'v10'])
  for (const id of ['forgotten', 'gone']) expect(store.find(parseItemId(id))).toBeNull()
  const successor = store.find(parseItemId('successor'))!
  expect(successor).toMatchObject({ item: 0, failureOffset: 21, standing: 'failed' })
  expect(store.failureOf(successor.item)).toMatchObject({ code: 'image-not-found', retryable: true, attempts: 1 })
  expect(store.find(parseItemId('busy'))).toMatchObject({ attributesOffset: 129, objectsOffset: 129 })
  expect(store.find(parseItemId('first deleted'))).toMatchObject({
    attributesOffset: 33,
    objectsOffset: 33,
    failureOffset: 34,
    removalOffset: 35,
    removedAtMs: 1_035,
    standing: 'deleted',
  })
  await store.close()
})

test('the golden item log holds what its model holds, and goes on', async () => {
  await inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory))
    await fillGolden(modelled)
    const { model, rows } = await modelled.flush()
    for (const { file } of (await modelled.flush()).saved.files) await rm(join(directory, file))
    await cp(golden, directory, { recursive: true })
    await modelled.reopen({ saved: await readSaved(), model, rows })
    const filters = [{}, { price: { min: 11 } }, { attributes: { seats: [4] } }, { available: false }]
    await modelled.requireSame(filters)
    await modelled.store.forgetRemoved(Number.MAX_SAFE_INTEGER, () => true)
    modelled.model.forgetRemoved(Number.MAX_SAFE_INTEGER)
    await modelled.requireSame(filters)
    await modelled.store.close()
  })
})
