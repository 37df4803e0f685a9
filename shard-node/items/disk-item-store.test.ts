import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ImageDigest, parseItemId } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { attributesPut, itemRemoved, objectsPut } from '../testing/shard-on-log.ts'
import { filter, itemId, mutation } from './testing/item-arbitraries.ts'
import { type FlushPoint, ModelledStore } from './testing/store-comparison.ts'
import { inTemporaryDirectory } from './testing/temporary-directory.ts'

type Step =
  | { readonly type: 'apply'; readonly mutations: readonly RegisterMutation[] }
  | { readonly type: 'flush' | 'check' | 'turn' }
  | { readonly type: 'reopen'; readonly from: number }
  | { readonly type: 'forget'; readonly before: number }

const vector = Float32Array.of(1, 0)
/** Compaction sets in after a few records. */
const tiny = { logFileBytes: 2_000, logGarbageBytes: 600, contentsKept: 2, answersKept: 2 }

function steps(ids: fc.Arbitrary<string>): fc.Arbitrary<Step[]> {
  const apply = fc.array(mutation(ids, 40), { maxLength: 12 }).map((mutations): Step => ({ type: 'apply', mutations }))
  const others: fc.Arbitrary<Step> = fc.oneof(
    fc.constantFrom({ type: 'flush' } as const, { type: 'check' } as const, { type: 'turn' } as const),
    fc.nat().map((from): Step => ({ type: 'reopen', from })),
    fc.integer({ min: 1_000, max: 1_045 }).map((before): Step => ({ type: 'forget', before })),
  )
  return fc.array(fc.oneof({ arbitrary: apply, weight: 2 }, { arbitrary: others, weight: 1 }), { maxLength: 30 })
}

/** Carries the steps out on a store and its model; checkpoints that were flushed stay usable until one is reopened. */
async function carryOut(modelled: ModelledStore, steps: readonly Step[], check: () => Promise<void>): Promise<void> {
  let flushed: FlushPoint[] = []
  for (const step of steps) {
    switch (step.type) {
      case 'apply':
        for (const each of step.mutations) modelled.apply(each)
        break
      case 'flush':
        flushed.push(await modelled.flush())
        break
      case 'check':
        await check()
        break
      case 'turn':
        await nextTurn()
        break
      case 'reopen':
        if (flushed.length === 0) break
        flushed = flushed.slice(0, (step.from % flushed.length) + 1)
        await modelled.reopen(flushed.at(-1)!)
        await check()
        break
      case 'forget':
        await modelled.store.forgetRemoved(step.before, () => true)
        modelled.model.forgetRemoved(step.before)
        break
    }
  }
  flushed.push(await modelled.flush())
  await check()
  await modelled.reopen(flushed.at(-1)!)
  await check()
}

test('a store holds what its model holds, reopened from any flush, compacted at any moment', async () => {
  const few = fc.uniqueArray(itemId, { minLength: 1, maxLength: 6 })
  const scenario = few.chain(ids => fc.tuple(steps(fc.constantFrom(...ids)), fc.array(filter, { maxLength: 3 })))
  await fc.assert(
    fc.asyncProperty(scenario, async ([chosen, filters]) => {
      await inTemporaryDirectory(async directory => {
        const modelled = await ModelledStore.create(new ShardFiles(directory), tiny)
        for (const each of filters) await modelled.store.allowed(each)
        await carryOut(modelled, chosen, () => modelled.requireSame(filters))
        await modelled.store.close()
      })
    }),
    { numRuns: 80 },
  )
})

test('replacing for ever takes no more disk: the log stays near what is live, and reads go on meanwhile', async () => {
  await inTemporaryDirectory(async directory => {
    const tuning = { logFileBytes: 20_000, logGarbageBytes: 4_000 }
    const modelled = await ModelledStore.create(new ShardFiles(directory), tuning)
    const items = 200
    let liveBytes = 0
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < items; i++) {
        const offset = round * items + i
        modelled.apply(attributesPut(`item-${i}`, offset, { title: `title ${round} of ${i}` }))
        modelled.apply(objectsPut(`item-${i}`, offset, [vector]))
        if (i % 20 === 0) await modelled.store.settled()
      }
      await modelled.requireSame()
      await modelled.store.flush()
      if (round === 0) liveBytes = modelled.store.diskBytes
      expect(modelled.store.diskBytes).toBeLessThan(2.2 * liveBytes)
    }
    const point = await modelled.flush()
    const unused = (await modelled.files.list()).filter(file => !modelled.store.filesInUse().includes(file))
    expect(unused.length).toBeGreaterThan(10)
    for (const file of unused) await modelled.files.remove(file)
    await modelled.reopen(point)
    await modelled.requireSame()
    await modelled.store.close()
  })
})

test('removed items are forgotten when that is safe; their numbers serve again one round later', async () => {
  await inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory))
    const { store } = modelled
    for (const id of ['old', 'recent', 'live', 'incomplete']) modelled.apply(attributesPut(id, 1))
    modelled.apply(itemRemoved('old', 10))
    modelled.apply(itemRemoved('incomplete', 10))
    modelled.apply(itemRemoved('recent', 5_000))
    const { item } = store.find(parseItemId('old'))!
    const isComplete = (row: { readonly item: number }): boolean => store.idOf(row.item) !== 'incomplete'
    expect(await store.forgetRemoved(2_000, isComplete)).toBe(1)
    expect(store.find(parseItemId('old'))).toBeNull()
    expect(() => store.at(item)).toThrow(expect.objectContaining({ code: 'internal' }))
    modelled.apply(attributesPut('first', 20))
    expect(store.find(parseItemId('first'))!.item).not.toBe(item)
    expect(await store.forgetRemoved(2_000, isComplete)).toBe(0)
    modelled.apply(attributesPut('second', 20))
    expect(store.find(parseItemId('second'))!.item).toBe(item)
    expect(store.counts).toEqual({ searchable: 0, pending: 3, failed: 0, deleted: 2, unknown: 0 })
    modelled.model.items.delete(parseItemId('old'))
    await modelled.requireSame()
    await modelled.reopen(await modelled.flush())
    await modelled.requireSame()
    await modelled.store.close()
  })
})

test('while the disk is full nothing changes and all is read; then the same mutations go through', async () => {
  await inTemporaryDirectory(async directory => {
    let isFull = false
    const files = new ShardFiles(directory, step => {
      if (isFull && step === 'write') throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
    })
    const modelled = await ModelledStore.create(files, { logFileBytes: 4_000 })
    modelled.apply(attributesPut('lamp', 1))
    modelled.apply(objectsPut('lamp', 1, [vector]))
    isFull = true
    const refused = expect.objectContaining({ code: 'storage-full' })
    await expect(modelled.store.flush()).rejects.toEqual(refused)
    await expect(modelled.store.settled()).rejects.toEqual(refused)
    const rows = modelled.rows.copy()
    for (const each of [attributesPut('lamp', 2), objectsPut('lamp', 2, [vector]), itemRemoved('lamp', 3)])
      expect(() => modelled.store.apply(each, { partition: 0 as never, appendTimeMs: 1 }, rows)).toThrow(refused)
    expect(() =>
      modelled.store.apply(attributesPut('new', 2), { partition: 0 as never, appendTimeMs: 1 }, rows),
    ).toThrow(refused)
    expect(rows.sets).toEqual(modelled.rows.sets)
    await modelled.requireSame()
    isFull = false
    await modelled.store.settled()
    modelled.apply(attributesPut('lamp', 2))
    modelled.apply(attributesPut('new', 2))
    await modelled.requireSame()
    await modelled.reopen(await modelled.flush())
    await modelled.requireSame()
    await modelled.store.close()
  })
})

test.each(['create', 'write', 'sync', 'sync-directory'])(
  'a disk that refuses every other %s for a while, compaction or not, loses nothing',
  async refused => {
    await inTemporaryDirectory(async directory => {
      let steps = 0
      let isFull = true
      const files = new ShardFiles(directory, step => {
        if (step === refused && isFull && ++steps % 2 === 0)
          throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      })
      const modelled = await ModelledStore.create(files, { logFileBytes: 3_000, logGarbageBytes: 1_000 })
      for (let offset = 0; offset < 120; offset++) {
        await modelled.store.settled().catch(() => {})
        await modelled.applyAgain(attributesPut(`item-${offset % 7}`, offset))
        if (offset % 10 === 0) await modelled.store.flush().catch(() => {})
      }
      expect(steps).toBeGreaterThan(5)
      await modelled.requireSame()
      isFull = false
      await modelled.store.settled()
      await modelled.reopen(await modelled.flush())
      await modelled.requireSame()
      await modelled.store.close()
    })
  },
)

test('a file damaged while it is in use is found by compaction, and no mutation is applied any more', async () => {
  await inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory), { logGarbageBytes: 2_000 })
    modelled.apply(attributesPut('kept', 1, { title: 'the record that rots' }))
    const [saved] = (await modelled.flush()).saved.files
    const path = join(directory, saved!.file)
    const rotten = (await readFile(path)).fill(0, saved!.bytes - 20, saved!.bytes - 10)
    await writeFile(path, rotten)
    const replaceForEver = async (): Promise<void> => {
      for (let offset = 0; offset < 1_000; offset++) {
        modelled.apply(attributesPut('busy', offset))
        await modelled.store.settled()
      }
    }
    await expect(replaceForEver()).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    await expect(modelled.store.settled()).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    await modelled.store.close()
  })
})

test('images that an item refers to, by digest or as uploaded blob, are told until it is removed', async () => {
  await inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory))
    const digests = ['a', 'b', 'c'].map(letter => letter.repeat(64) as ImageDigest)
    const [embedded, uploaded] = digests
    modelled.apply({ ...attributesPut('lamp', 1), images: [`blob:${uploaded}`] } as RegisterMutation)
    modelled.apply(objectsPut('lamp', 1, [vector]))
    expect(modelled.store.referenced(digests)).toEqual(new Set([embedded, uploaded]))
    await modelled.reopen(await modelled.flush())
    expect(modelled.store.referenced(digests)).toEqual(new Set([embedded, uploaded]))
    modelled.apply(itemRemoved('lamp', 2))
    expect(modelled.store.referenced(digests)).toEqual(new Set())
    await modelled.store.close()
  })
})

test('a view shows the objects that were current when it began, and none of an item removed since', async () => {
  await inTemporaryDirectory(async directory => {
    const modelled = await ModelledStore.create(new ShardFiles(directory))
    const { store } = modelled
    for (const id of ['replaced', 'kept', 'removed']) {
      modelled.apply(attributesPut(id, 1))
      modelled.apply(objectsPut(id, 1, [vector]))
    }
    const items = ['replaced', 'kept', 'removed'].map(id => store.find(parseItemId(id))!.item)
    const early = store.view()
    modelled.apply(objectsPut('replaced', 2, [vector, vector]))
    const later = store.view()
    modelled.apply(objectsPut('replaced', 3, [vector, vector, vector]))
    modelled.apply(itemRemoved('removed', 2))
    modelled.apply(attributesPut('removed', 3))
    modelled.apply(objectsPut('removed', 3, [vector]))
    const labelsOf = (view: typeof early) => items.map(item => view.answerOf(item)?.objects.map(({ label }) => label))
    expect(labelsOf(early)).toEqual([['v1'], ['v1'], undefined])
    early.end()
    expect(labelsOf(later)).toEqual([['v2', 'v2'], ['v1'], undefined])
    later.end()
    expect(labelsOf(store.view())).toEqual([['v3', 'v3', 'v3'], ['v1'], ['v3']])
    await store.close()
  })
})
