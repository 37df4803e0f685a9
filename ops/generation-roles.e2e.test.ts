import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { metrics } from '@opentelemetry/api'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeadLetter } from '../schemas/dead-letter.ts'
import { asOffset, type Generation, type ItemId, parseItemId } from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import { catalogTopic, mutationTopic } from '../schemas/topics.ts'
import { Alarms } from './alarms.ts'
import { parseConfig } from './config.ts'
import { GenerationRoles } from './generation-roles.ts'
import { type ImageRole, modelIdentity, openImages } from './image-roles.ts'
import { dispatchTableName, shardDirectory } from './pipeline-parts.ts'
import { openStorage, type Storage } from './storage.ts'

const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const clock = () => Date.now()
const log = pino({ level: 'silent' })
const patienceMs = 60_000

let directory: string
let running: Running | null
let pictures: readonly string[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-generations-'))
  running = null
})
afterEach(async () => {
  await running?.close()
  await rm(directory, { recursive: true, force: true })
})

/** The roles of the embedded form on one data directory, without HTTP. */
interface Running {
  readonly storage: Storage
  readonly images: ImageRole
  readonly roles: GenerationRoles
  readonly alarms: Alarms
  close(): Promise<void>
}

async function start(environment: Readonly<Record<string, string>> = {}): Promise<Running> {
  const { config } = parseConfig({
    machine: { cores: 2 },
    workingDir: directory,
    environment: { FRESHET_DATA_DIR: directory, FRESHET_STUB_MODEL: 'true', FRESHET_SHARDS: '2', ...environment },
    flags: {},
  })
  const storage = await openStorage(config, log, clock)
  const blobs = {
    directory: join(directory, 'blobs'),
    isReferenced: async <T>(digests: readonly T[]) => new Set(digests),
  }
  const images = await openImages({ config, stores: storage, blobs, clock })
  const alarms = new Alarms(log, clock)
  const meter = metrics.getMeter('test')
  const roles = await GenerationRoles.start({
    config,
    storage,
    images,
    alarms,
    log,
    clock,
    meter,
    onSearchable: () => {},
  })
  const close = async () => {
    running = null
    await roles.close()
    await images.close()
    await storage.close()
  }
  running = { storage, images, roles, alarms, close }
  return running
}

async function uploadPictures({ images }: Running): Promise<void> {
  const uploaded = Array.from({ length: 5 }, (_, n) => images.blobs.put(Buffer.from(`picture ${n}`), 1_000))
  pictures = (await Promise.all(uploaded)).map(({ digest }) => `blob:${digest}`)
}

const itemAt = (n: number): ItemId => parseItemId(`item-${n}`)

async function publish({ storage }: Running, from: number, to: number): Promise<void> {
  const { log: events, codecs, partitions } = storage
  const records = Array.from({ length: to - from }, (_, i) => {
    const itemId = itemAt(from + i)
    const value = codecs.catalog.encode({
      type: 'ItemUpserted',
      itemId,
      images: [pictures[(from + i) % pictures.length]!],
      imageVersion: '',
      refresh: false,
      title: `Item ${from + i}`,
      category: 'Chairs',
      price: null,
      currency: '',
      regions: [],
      available: true,
      attributes: {},
    })
    return { partition: partitionOf(itemId, partitions), key: Buffer.from(itemId), value }
  })
  await events.append(catalogTopic, records)
}

/** As an operator's desk would do it. */
async function build({ roles, storage }: Running, generation: Generation, model: string): Promise<void> {
  const control = roles.control.log
  const identity = await modelIdentity({ stubModel: true, model } as never, model)
  const decision = (state = control.state) => ({
    decidedAfter: state.lastAccepted,
    by: 'test',
    atMs: clock(),
    reason: 'a new model',
  })
  const registered = await control.append({
    ...decision(),
    type: 'ModelRegistered',
    manifest: '{}',
    ...plain(identity),
  })
  const ends = await storage.log.offsets(catalogTopic)
  await control.append({
    ...decision(registered),
    type: 'GenerationStarted',
    generation,
    ...plain(identity),
    shards: 3,
    backfillUntil: Array.from({ length: storage.partitions }, (_, p) => ends.get(p as never)?.end ?? asOffset(0)),
    topicEpoch: storage.topicEpoch,
    from: null,
    weights: '',
    index: '{"segments":"compressed"}',
    imagesPerSecond: 0,
  })
}

const plain = ({ model, fingerprint, dims }: Awaited<ReturnType<typeof modelIdentity>>) => ({
  model,
  fingerprint,
  dims,
})

/** Gives all queries to a generation, whatever is missing. */
async function route({ roles }: Running, generation: Generation): Promise<void> {
  const control = roles.control.log
  const { lastAccepted } = await control.refresh()
  const decision = { decidedAfter: lastAccepted, by: 'test', atMs: clock(), reason: 'test' }
  await control.append({
    ...decision,
    type: 'RoutingChanged',
    shares: { [generation]: 1 },
    override: 'a test',
    rebuilds: {},
  })
}

async function retire({ roles }: Running, generation: Generation): Promise<void> {
  const control = roles.control.log
  const { lastAccepted } = await control.refresh()
  const decision = { decidedAfter: lastAccepted, by: 'test', atMs: clock(), reason: 'test' }
  await control.append({ ...decision, type: 'GenerationRetired', generation, override: 'a test' })
}

async function searchable({ roles }: Running, generation: Generation): Promise<number> {
  const shards = roles.shards().filter(shard => shard.generation === generation)
  const statuses = await Promise.all(shards.map(shard => shard.status()))
  return statuses.reduce((sum, { items }) => sum + items.searchable, 0)
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const startedMs = performance.now()
  while (!(await holds())) {
    if (performance.now() - startedMs > patienceMs) throw new Error(`in vain: ${what}`)
    await pause(20)
  }
}

test('a second generation is filled beside the first while events flow, across restarts, and the first is removed', async () => {
  let server = await start()
  await uploadPictures(server)
  await publish(server, 0, 400)
  await until('g1 is filled', async () => (await searchable(server, g1)) === 400)
  await build(server, g2, 'stub-b')
  await publish(server, 400, 500)
  await server.close()

  server = await start()
  await publish(server, 500, 600)
  await until('g2 is filled', async () => (await searchable(server, g2)) === 600)
  await until('g1 goes on', async () => (await searchable(server, g1)) === 600)
  expect(server.roles.models.modelOf(g1)?.model).toBe('stub')
  expect(server.roles.models.modelOf(g2)?.model).toBe('stub-b')
  expect(server.roles.generations().map(({ status, shards }) => [status.started.generation, shards.length])).toEqual([
    ['g1', 2],
    ['g2', 3],
  ])

  await route(server, g2)
  expect(server.roles.state.generations.get(g2)).toMatchObject({ state: 'active', share: 1 })
  await publish(server, 600, 650)
  await until('the standby goes on', async () => (await searchable(server, g1)) === 650)
  await retire(server, g1)
  const leftovers = () => existsSync(shardDirectory(directory, g1, 0)) || existsSync(shardDirectory(directory, g1, 1))
  await until('g1 is removed', async () => (await server.storage.log.topicSpec(mutationTopic(g1))) === null)
  expect(leftovers()).toBe(false)
  expect(server.storage.keyValueStore(dispatchTableName(g1)).entries('')).toEqual([])
  expect(server.roles.models.modelOf(g1)).toBeUndefined()
  const letter = (generation: Generation) => ({ generation, job: { generation } }) as unknown as DeadLetter
  await expect(server.roles.redrive(letter(g1))).rejects.toMatchObject({ code: 'bad-request', message: /retired/ })
  await expect(server.roles.redrive(letter('g9' as Generation))).rejects.toMatchObject({ code: 'not-ready' })
  await server.close()

  // The model of the configuration is that of g1: only the control log counts.
  server = await start()
  await publish(server, 650, 700)
  await until('g2 goes on alone', async () => (await searchable(server, g2)) === 700)
  expect(server.roles.generations().map(({ status }) => status.started.generation)).toEqual(['g2'])
  expect(leftovers()).toBe(false)
  expect(server.alarms.list()).toEqual([])
})
