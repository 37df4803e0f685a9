import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import { imageIdentity } from '../schemas/catalog-event.ts'
import type { DeadLetter } from '../schemas/dead-letter.ts'
import { type EmbedJob, encodeJob, jobIdOf, supersedeHintKey } from '../schemas/embed-job.ts'
import { FreshetError } from '../schemas/errors.ts'
import {
  asOffset,
  asPartition,
  type Fingerprint,
  type ImageDigest,
  type ItemId,
  parseGeneration,
  type TopicEpoch,
} from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import type { Mutation, ObjectsPut } from '../schemas/mutation.ts'
import { MemorySchemaDirectory } from '../schemas/testing/memory-schema-directory.ts'
import { deadLetterTopic, mutationTopic } from '../schemas/topics.ts'
import { encodeF16, normalise } from '../schemas/unit-vector.ts'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../topologies/embedded/embedded-feature-store.ts'
import { openKeyValueStore } from '../topologies/embedded/embedded-key-value-store.ts'
import { EmbeddedWorkQueue } from '../topologies/embedded/embedded-work-queue.ts'
import { TemporaryEnvironment } from '../topologies/embedded/testing/temporary-environment.ts'
import type { EventLog } from '../topologies/event-log.ts'
import { BlobStore } from './blob-store.ts'
import { EmbeddingCache } from './embedding-cache.ts'
import { HttpImages } from './http-images.ts'
import { ImageSource } from './image-source.ts'
import { bundledModels } from './model-manifest.ts'
import { ModelPool } from './model-pool.ts'
import { WorkerLoop, type WorkerLoopOptions } from './worker-loop.ts'

const generation = parseGeneration('g1')
const epoch = '0123456789abcdef' as TopicEpoch
const fingerprint = 'f'.repeat(64) as Fingerprint
const partition = asPartition(1)
const log = { info: () => {}, warn: () => {} }

/** Gives every picture the same vector; what `onIndex` does comes first. */
class OneVectorModel implements ImageModel {
  readonly model = 'one-vector'
  readonly fingerprint = fingerprint
  readonly dims = 4
  calls = 0
  onIndex: (digest: ImageDigest) => Promise<void> = async () => {}

  async index(_: unknown, digest: ImageDigest) {
    this.calls++
    await this.onIndex(digest)
    const vector = encodeF16(normalise(Float32Array.from([1, 2, 3, 4])))
    const whole = { box: [0, 0, 1, 1] as const, label: '', score: 1, vector }
    return { digest, width: 2, height: 2, objects: [whole, { ...whole, label: 'chair', score: 0.5 }] }
  }

  analyse(): never {
    throw new Error('indexing alone')
  }
}

let temporary: TemporaryEnvironment
let eventLog: EventLog
let queue: EmbeddedWorkQueue
let features: EmbeddedFeatureStore
let blobs: BlobStore
let http: HttpImages
let images: ImageSource
let cache: EmbeddingCache
let codecs: Codecs
let model: OneVectorModel
let server: Server
let hostUrl: string
/** What the image host answers. */
let hostStatus = 503
const loops: WorkerLoop[] = []

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  const clock = () => temporary.now
  const environment = await temporary.open()
  eventLog = new EmbeddedEventLog(environment)
  for (const name of [mutationTopic(generation), deadLetterTopic])
    await eventLog.ensureTopic({
      name,
      partitions: 2,
      compacted: false,
      retentionMs: null,
      minCompactionLagMs: 0,
      tombstoneRetentionMs: 0,
    })
  queue = new EmbeddedWorkQueue(environment)
  features = new EmbeddedFeatureStore(environment)
  const directory = join(temporary.directory, 'blobs')
  blobs = await BlobStore.open({ directory, maxBytes: 1e9, isReferenced: async () => new Set(), clock })
  http = new HttpImages({ clock: () => performance.now(), allowPrivateHosts: true })
  const store = openKeyValueStore(environment, 'workers')
  const fileRoots = [bundledModels]
  images = await ImageSource.open({ blobs, http, store, fileRoots, maxReferences: 1_000, random: () => 0 })
  cache = new EmbeddingCache({ store, maxEntries: 1_000, random: () => 0 })
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  codecs = await openCodecs(schemas)
  model = new OneVectorModel()
  hostStatus = 503
  server = createServer((_, response) => response.writeHead(hostStatus).end('GIF89a'))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  hostUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.gif`
})

afterEach(async () => {
  await Promise.all(loops.splice(0).map(loop => loop.stop(0)))
  server.close()
  await http.close()
  await temporary.dispose()
})

test('a job becomes one mutation with the objects of all its images', async () => {
  const references = [await uploaded('first'), await uploaded('second')]
  const job = jobOf({ images: references })
  await add(job)
  start()
  const [record] = await mutations(1)
  expect(record).toMatchObject({
    type: 'ObjectsPut',
    itemId: job.itemId,
    version: job.version,
    imageIdentity: job.imageIdentity,
    imageDigests: references.map(reference => reference.slice('blob:'.length)),
    fingerprint,
  })
  expect((record as ObjectsPut).objects.map(({ image, label }) => [image, label])).toEqual([
    [0, ''],
    [0, 'chair'],
    [1, ''],
    [1, 'chair'],
  ])
  await idle()
})

test('the same bytes are embedded once, also for another item', async () => {
  const reference = await uploaded('shared')
  await add(jobOf({ images: [reference] }))
  const loop = start()
  await mutations(1)
  await add(jobOf({ itemId: 'other', offset: 8, images: [reference] }))
  await mutations(2)
  expect(model.calls).toBe(1)
  expect(loop.status()).toMatchObject({ done: 2, cache: { entries: 1, hits: 1 } })
})

test('one bad image fails the item, says which, and leaves a dead letter to redrive', async () => {
  const bad = await uploaded('bad')
  model.onIndex = async digest => {
    if (bad.endsWith(digest)) throw new FreshetError('image-corrupt', 'half of it is missing')
  }
  const job = jobOf({ images: [await uploaded('good'), bad] })
  await add(job)
  start()
  const [failed] = await mutations(1)
  expect(failed).toMatchObject({ type: 'WorkFailed', stage: 'decode', code: 'image-corrupt', retryable: false })
  expect(failed).toMatchObject({ attempts: 1, message: expect.stringContaining('image 2 of 2') })
  const [letter] = await deadLetters(1)
  expect(letter).toMatchObject({ code: 'image-corrupt', sourcePartition: 1, sourceOffset: 7, generation, job })
  await idle()
})

test('vectors that do not fit their generation are not published', async () => {
  const job = jobOf({ images: [await uploaded('a')] })
  const wrong = Object.assign(new OneVectorModel(), { dims: 8 })
  await add(job)
  start({}, wrong)
  expect((await mutations(1))[0]).toMatchObject({ type: 'WorkFailed', stage: 'publish', code: 'vector-dimension' })
})

test('a superseded job is dropped, unless its item waits for too long', async () => {
  const images = [await uploaded('a')]
  await features.raise([{ key: supersedeHintKey(generation, 'chair' as ItemId), value: 9 }], 60_000)
  await add(jobOf({ offset: 7, images }))
  await add(jobOf({ offset: 8, images, waitedMs: 2_000 }))
  await add(jobOf({ offset: 9, images }))
  const loop = start()
  const offsets = (await mutations(2)).map(mutation => (mutation as ObjectsPut).version.offset)
  expect(offsets.toSorted()).toEqual([8, 9])
  expect(loop.status()).toMatchObject({ superseded: 1, done: 2 })
  await idle()
})

test('a sick image host: retried, reported once when it takes long, and others are not held up', async () => {
  await add(jobOf({ images: [hostUrl] }))
  const loop = start({ concurrency: 1 })
  await until(async () => (await queue.depth()).delayed === 1)
  await add(jobOf({ itemId: 'healthy', images: [await uploaded('a')] }))
  expect((await mutations(1))[0]).toMatchObject({ type: 'ObjectsPut', itemId: 'healthy' })
  for (let attempt = 2; attempt <= 4; attempt++) {
    temporary.now += 20_000
    await until(async () => loop.status().retried === attempt && (await queue.depth()).delayed === 1)
  }
  expect((await mutations(2))[1]).toMatchObject({ type: 'WorkFailed', code: 'image-host-busy', retryable: true })
  expect(await mutations(2)).toHaveLength(2)
})

test('a picture that keeps killing its process is given up after three attempts', async () => {
  model.onIndex = async () => {
    temporary.now += 60_000
    throw new FreshetError('decoder-crashed', 'it died')
  }
  await add(jobOf({ images: [await uploaded('a')] }))
  start({ failAfterMs: 1e9 })
  expect((await mutations(1))[0]).toMatchObject({ type: 'WorkFailed', code: 'decoder-crashed', attempts: 3 })
  expect(await deadLetters(1)).toMatchObject([{ code: 'decoder-crashed', attempts: 3, stage: 'embed' }])
  expect(model.calls).toBe(3)
})

test('results the log refuses are made again', async () => {
  let refusals = 2
  const append: EventLog['append'] = (topic, records) => {
    if (refusals-- > 0) return Promise.reject(new FreshetError('storage-full', 'no space'))
    return eventLog.append(topic, records)
  }
  await add(jobOf({ images: [await uploaded('a')] }))
  const refusing = new Proxy(eventLog, {
    get: (target, name) => (name === 'append' ? append : Reflect.get(target, name)),
  })
  start({}, model, refusing)
  for (let tries = 0; tries < 2; tries++) {
    await until(async () => (await queue.depth()).delayed === 1)
    temporary.now += 1_000
  }
  expect((await mutations(1))[0]).toMatchObject({ type: 'ObjectsPut' })
  await idle()
})

test('a generation whose model is not here waits for it', async () => {
  await add({ ...jobOf({ images: [await uploaded('a')] }), generation: parseGeneration('g2') })
  const loop = start()
  // More often than a job may be tried.
  for (let returned = 0; returned < 15; returned++) {
    await until(async () => (await queue.depth()).delayed === 1)
    temporary.now += 1_000
    await until(async () => (await queue.depth()).delayed === 0)
  }
  await until(async () => (await queue.depth()).delayed === 1)
  expect(loop.status()).toMatchObject({ inFlight: 0, retried: 0, failed: 0 })
  await loop.stop(1_000)
  temporary.now += 1_000
  expect(await queue.claim(1, 60_000, 0)).toMatchObject([{ attempt: 1 }])
})

test('jobs of a generation whose model is not here do not keep others from running', async () => {
  for (let n = 0; n < 40; n++)
    await add({ ...jobOf({ offset: n, images: [await uploaded('a')] }), generation: parseGeneration('g2') })
  await add(jobOf({ itemId: 'ours', images: [await uploaded('a')] }))
  start()
  expect((await mutations(1))[0]).toMatchObject({ type: 'ObjectsPut', itemId: 'ours' })
  await until(async () => (await queue.depth()).delayed === 40)
})

test('jobs of a retired generation are dropped', async () => {
  await add({ ...jobOf({ images: [await uploaded('a')] }), generation: parseGeneration('g0') })
  const loop = start()
  await idle()
  expect([model.calls, loop.status().retried]).toEqual([0, 0])
})

test('a payload nobody can read is dropped', async () => {
  await queue.add([{ id: 'garbage-1', priority: 'live', payload: Buffer.from('{'), delayMs: 0 }])
  await add(jobOf({ images: [await uploaded('a')] }))
  start()
  await mutations(1)
  await idle()
})

test('stopping lets finished work out and puts the rest back at once', async () => {
  const slow = await uploaded('slow')
  const { promise: slowBegan, resolve: begin } = Promise.withResolvers<void>()
  model.onIndex = digest => {
    if (!slow.endsWith(digest)) return Promise.resolve()
    begin()
    return new Promise(() => {})
  }
  await add(jobOf({ images: [slow] }))
  await add(jobOf({ itemId: 'quick', images: [await uploaded('quick')] }))
  const loop = start()
  await slowBegan
  await mutations(1)
  await loop.stop(50)
  expect(await queue.depth()).toMatchObject({ claimed: 0, delayed: 0, waiting: { live: 1 } })
  model.onIndex = async () => {}
  start()
  expect((await mutations(2)).map(mutation => (mutation as ObjectsPut).itemId)).toEqual(['quick', 'chair'])
})

test('no more in hand than allowed, and all of it done', async () => {
  let running = 0
  let most = 0
  model.onIndex = async () => {
    most = Math.max(most, ++running)
    await new Promise(setImmediate)
    running--
  }
  for (let i = 0; i < 60; i++) await add(jobOf({ itemId: `item ${i}`, images: [await uploaded(`${i}`)] }))
  start({ concurrency: 5 })
  const items = (await mutations(60)).map(mutation => (mutation as ObjectsPut).itemId)
  expect(new Set(items).size).toBe(60)
  expect(most).toBeLessThanOrEqual(5)
  await idle()
})

test('real pictures through real models', async () => {
  const pool = await ModelPool.open({ modelSet: 'v1', processes: 1, clock: () => performance.now(), log })
  const names = ['blendswap-cc-0-1.webp', 'room-000.jpg', 'room-005.jpg']
  for (const name of names)
    await add(jobOf({ itemId: name, images: [pathToFileURL(join(bundledModels, 'golden', name)).href] }))
  start({}, pool)
  const puts = (await mutations(3)) as ObjectsPut[]
  await pool.close()
  expect(puts.map(({ itemId }) => itemId as string).toSorted()).toEqual(names)
  for (const { fingerprint: of, objects, itemId } of puts) {
    expect(of).toBe(pool.fingerprint)
    expect(objects.length > 1, itemId).toBe(itemId === 'room-005.jpg')
  }
})

function start(
  options: Partial<WorkerLoopOptions> = {},
  using: ImageModel = model,
  into: EventLog = eventLog,
): WorkerLoop {
  const modelOf = (name: string) => (name === generation ? using : undefined)
  const isRetired = (name: string) => name === 'g0'
  const ports = { queue, log: into, features, images, blobs, cache, codecs, modelOf, isRetired }
  const loop = new WorkerLoop(ports, { clock: () => temporary.now, random: () => 1, log, concurrency: 8, ...options })
  loops.push(loop)
  loop.start()
  return loop
}

async function uploaded(text: string): Promise<string> {
  const { digest } = await blobs.put(Buffer.from(text), 1_000)
  return `blob:${digest}`
}

function jobOf(wanted: { itemId?: string; offset?: number; waitedMs?: number } & Pick<EmbedJob, 'images'>): EmbedJob {
  const { itemId = 'chair', offset = 7, waitedMs = 0, images: references } = wanted
  return {
    generation,
    itemId: itemId as ItemId,
    partition,
    version: { epoch, offset: asOffset(offset) },
    imageIdentity: imageIdentity({ images: references, imageVersion: '' }),
    images: references,
    refresh: false,
    acceptedAtMs: temporary.now,
    pendingSinceMs: temporary.now - waitedMs,
    traceparent: '',
  }
}

let added = 0
async function add(job: EmbedJob): Promise<void> {
  const id = `${jobIdOf(job)}-${added++}`
  await queue.add([{ id, priority: 'live', payload: encodeJob(job), delayMs: 0 }])
}

/** The first so many mutations of the generation, as soon as they are there. */
async function mutations(count: number): Promise<readonly Mutation[]> {
  return (await recordsOf(mutationTopic(generation), count)).map(value => codecs.mutations.decode(value))
}

async function deadLetters(count: number): Promise<readonly DeadLetter[]> {
  return (await recordsOf(deadLetterTopic, count)).map(value => codecs.deadLetters.decode(value))
}

async function recordsOf(topic: string, count: number): Promise<readonly Uint8Array[]> {
  const reader = await eventLog.openReader({ topic, partitions: [partition], from: new Map() })
  const values: Uint8Array[] = []
  while (values.length < count) for (const { value } of await reader.poll(100, 10_000)) values.push(value!)
  await reader.close()
  return values
}

async function idle(): Promise<void> {
  const nothing = { waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 0 }
  await until(async () => JSON.stringify(await queue.depth()) === JSON.stringify(nothing))
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise(resolve => setImmediate(resolve))
}
