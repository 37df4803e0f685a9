import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { EmbedJob } from '../../schemas/embed-job.ts'
import type { ItemId, Partition } from '../../schemas/ids.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import type { FoldedItem } from '../dispatch/test-records.ts'
import { testEpoch, testFingerprint, upsertOf } from '../dispatch/test-records.ts'
import {
  begin,
  brokenImages,
  type Installation,
  type ItemEvent,
  idOf,
  install,
  publish,
} from '../dispatch/testing/installation.ts'
import { copyObjects, StandingRecords } from './object-copy.ts'
import {
  appliedOf,
  type CrashPoint,
  createTargetTopic,
  dispatcherOf,
  logUntilCrash,
  source,
  target,
  withWorker,
} from './testing/copied-generation.ts'

const items = 40
const event = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      item: fc.nat(items - 1),
      image: fc.constantFrom('red', 'blue', 'broken'),
      price: fc.nat(3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ item: fc.nat(items - 1), image: fc.constant(null), price: fc.constant(0) }) },
)
type Event = typeof event extends fc.Arbitrary<infer E> ? E : never
const events = fc.array(event, { minLength: 20, maxLength: 120 })
const crash = fc.record({ append: fc.nat(4), isWritten: fc.boolean() })

const world = fc.record({
  before: events,
  during: fc.array(event, { minLength: 5, maxLength: 40 }),
  partitions: fc.constantFrom<'all' | 'group'>('all', 'group'),
  isCompacted: fc.boolean(),
  crashes: fc.array(crash, { maxLength: 2 }),
})

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-object-copy-'))
  for (let i = 0; i < items; i++) brokenImages.add(imageOf(i, 'broken'))
})
afterAll(() => rm(directory, { recursive: true }))

const patience = { timeout: 30_000, interval: 20 }
const imageOf = (item: number, image: string): string => `https://images.example/${item}/${image}`

function eventOf({ item, image, price }: Event): ItemEvent {
  if (image === null) return { type: 'ItemDeleted', itemId: idOf(item) }
  return upsertOf(idOf(item), imageOf(item, image), { price })
}

let installations = 0
async function withInstallation(body: (installation: Installation) => Promise<void>): Promise<void> {
  const installation = await install(join(directory, String(installations++)))
  try {
    await begin(installation)
    await createTargetTopic(installation)
    await body(installation)
  } finally {
    await installation.environment.close()
  }
}

/**
 * Without the versions of objects and failures: in a compacted catalog the same picture is introduced later. And without
 * the older objects of what failed: which of the pictures before it got its turn is chance.
 */
const heldIn = (folded: ReadonlyMap<ItemId, FoldedItem>) =>
  [...folded]
    .map(([itemId, { a, identity, failedIdentity }]) => ({ itemId, a, picture: failedIdentity || identity }))
    .sort(byId)
const byId = (one: { itemId: ItemId }, other: { itemId: ItemId }) => (one.itemId < other.itemId ? -1 : 1)

/** Runs the new generation's dispatcher; each crash ends it, and the next goes on. */
async function runThrough(
  installation: Installation,
  crashes: readonly CrashPoint[],
  partitions: 'all' | 'group',
): Promise<() => Promise<void>> {
  for (const point of crashes) {
    const crashed = Promise.withResolvers<void>()
    const log = logUntilCrash(installation.ports.log, point, crashed.resolve)
    const runner = dispatcherOf(installation, target, { log, partitions, onFailure: () => crashed.resolve() })
    await runner.start().catch(() => undefined)
    await crashed.promise
    await runner.stop()
  }
  const runner = dispatcherOf(installation, target, { partitions })
  await runner.start()
  return () => runner.stop()
}

test('a copied generation comes to hold the same, and embeds nothing that was embedded when it began', async () => {
  await fc.assert(
    fc.asyncProperty(world, async ({ before, during, partitions, isCompacted, crashes }) => {
      await withInstallation(async installation => {
        await withWorker(installation, async jobs => {
          const old = dispatcherOf(installation, source, { partitions })
          await old.start()
          await publish(installation, before.map(eventOf))
          await appliedOf(installation, source)
          if (isCompacted) await installation.environment.compactNow()
          const ends = await installation.log.offsets(catalogTopic)
          const stopping = runThrough(installation, crashes, partitions)
          await publish(installation, during.map(eventOf))
          const stop = await stopping
          expect(heldIn(await appliedOf(installation, target))).toEqual(heldIn(await appliedOf(installation, source)))
          // What changes while it is copied may have left the old log before it was read; and what failed is settled
          // while an older picture of it may still be embedded.
          const unsettled = new Set(during.map(({ item }) => idOf(item)))
          for (const { item } of before.filter(({ image }) => image === 'broken')) unsettled.add(idOf(item))
          const isKnown = ({ itemId, partition, version }: EmbedJob) =>
            version.offset < ends.get(partition)!.end && !unsettled.has(itemId)
          // Of a group's process that ends before its first commit the next one takes nothing for known from before gaps.
          if (partitions === 'all' || crashes.length === 0)
            expect(jobs.filter(job => job.generation === target && isKnown(job))).toEqual([])
          await stop()
          await old.stop()
        })
      })
    }),
    { numRuns: 20, endOnFailure: true },
  )
})

test('a copy keeps to the rate, stands still while it is paused, and goes on as fast as it can without one', async () => {
  await withInstallation(async installation => {
    await withWorker(installation, async () => {
      const old = dispatcherOf(installation, source)
      await old.start()
      const events = Array.from({ length: 100 }, (_, n) => upsertOf(idOf(n), imageOf(n, 'red')))
      await publish(installation, events)
      await appliedOf(installation, source)
      let frozenMs: number | null = Date.now()
      let looks = 0
      const clock = () => {
        looks++
        return frozenMs ?? Date.now() + 60_000
      }
      const copying = dispatcherOf(installation, target, { clock })
      const setPace = (pace: { readonly isPaused: boolean; readonly imagesPerSecond: number | null }) =>
        copying.setPace({ priority: 'standby', imageRecords: null, ...pace })
      const copied = () => copying.status().counts.copied
      setPace({ isPaused: false, imagesPerSecond: 15 })
      await copying.start()
      for (const expected of [15, 30, 45]) {
        frozenMs += 1_000
        await expect.poll(copied, patience).toBe(expected)
      }
      setPace({ isPaused: true, imagesPerSecond: 15 })
      frozenMs += 10_000
      const before = looks
      // Most are of the ticks, which are five times as often.
      await expect.poll(() => looks - before, patience).toBeGreaterThan(60)
      expect(copied()).toBe(45)
      setPace({ isPaused: false, imagesPerSecond: 5 })
      frozenMs += 1_000
      await expect.poll(copied, patience).toBe(50)
      setPace({ isPaused: false, imagesPerSecond: null })
      frozenMs = null
      await appliedOf(installation, target)
      expect(copied()).toBe(100)
      await copying.stop()
      await old.stop()
    })
  })
})

test('nothing is read of the catalog before the objects are there, and the status says so', async () => {
  await withInstallation(async installation => {
    await withWorker(installation, async jobs => {
      const old = dispatcherOf(installation, source)
      await old.start()
      await publish(
        installation,
        Array.from({ length: 100 }, (_, n) => upsertOf(idOf(n), imageOf(n, 'red'))),
      )
      await appliedOf(installation, source)
      const copying = dispatcherOf(installation, target)
      copying.setPace({ priority: 'standby', isPaused: true, imagesPerSecond: null, imageRecords: null })
      await copying.start()
      const { partitions } = copying.status()
      expect(partitions.map(({ catchingUp, position, watermark }) => ({ catchingUp, position, watermark }))).toEqual(
        Array.from({ length: 4 }, () => ({ catchingUp: true, position: 0, watermark: -1 })),
      )
      expect(partitions.reduce((sum, { lagRecords }) => sum + lagRecords, 0)).toBe(104)
      copying.setPace({ priority: 'standby', isPaused: false, imagesPerSecond: null, imageRecords: null })
      await appliedOf(installation, target)
      expect(copying.status().counts).toMatchObject({ events: 100, jobs: 0, copied: 100 })
      expect(jobs.filter(({ generation }) => generation === target)).toEqual([])
      // A restart finds its commits, and copies nothing again.
      await copying.stop()
      const next = dispatcherOf(installation, target)
      await next.start()
      await publish(installation, [upsertOf(idOf(0), imageOf(0, 'red'), { price: 9 })])
      await appliedOf(installation, target)
      expect(next.status().counts).toMatchObject({ events: 1, jobs: 0, copied: 0 })
      await next.stop()
      await old.stop()
    })
  })
})

test('a source that is gone leaves everything to be embedded', async () => {
  await withInstallation(async installation => {
    const { log, codecs } = installation
    await log.deleteTopic(mutationTopic(source))
    const options = {
      from: source,
      to: target,
      acceptance: { fingerprint: testFingerprint, dims: 4, topicEpoch: testEpoch },
      isOver: () => false,
      mayWrite: (records: number) => records,
      onCopied: () => {
        throw new Error('there is nothing to copy')
      },
    }
    await copyObjects({ log, mutations: codecs.mutations }, 0 as Partition, options)
  })
})

test('what stands: the newest objects unless removed later, the newest removal, nothing that was collected', () => {
  const record = (key: string, isNull = false) => ({ key: Buffer.from(key), value: isNull ? null : Buffer.of(1) })
  const log = [
    record('o:lamp@3'),
    record('a:lamp@3'),
    record('o:odd@name@7'),
    record('o:sofa@4'),
    record('x:sofa@5'),
    record('o:sofa@5', true),
    record('o:lamp@9'),
    record('o:lamp@3', true),
    record('o:chair@2'),
    record('o:chair@2', true),
    record('w:0'),
    record('o:bed@8'),
    record('x:bed@6'),
    record('x:rug@2'),
    record('x:rug@4'),
    record('x:rug@4', true),
  ]
  const standing = new StandingRecords()
  for (const each of log) standing.note(each)
  expect(log.filter(each => standing.has(each)).map(({ key }) => key.toString())).toEqual([
    'o:odd@name@7',
    'x:sofa@5',
    'o:lamp@9',
    'o:bed@8',
    'x:bed@6',
  ])
})
