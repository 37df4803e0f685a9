import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCodecs } from '../../schemas/avro/codec.ts'
import { FreshetClient } from '../../schemas/client.ts'
import type { ControlRecord } from '../../schemas/control.ts'
import { asOffset, type Generation } from '../../schemas/ids.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import { ConfluentSchemaRegistry } from '../../topologies/confluent/confluent-schema-registry.ts'
import { ControlLog } from '../../topologies/control/control-log.ts'
import { KafkaEventLog } from '../../topologies/kafka/kafka-event-log.ts'
import { ServerSet } from '../../topologies/servers/server-set.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { StubModel } from '../stub-model.ts'
import { runCli } from '../testing/captured-cli.ts'
import { RoleProcess } from '../testing/role-process.ts'
import { readTopicEpoch } from '../topic-epoch.ts'
import { mutationTopicSpec } from '../topic-set-up.ts'
import type { RoleName } from './role.ts'

/** A second generation beside the first, in roles that are processes of their own, over Kafka and Redis. */
const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const partitions = 8
let scratch: string
let servers: ServerSet
let env: Record<string, string>
let roles: RoleProcess[] = []
let client: FreshetClient
let registry: ConfluentSchemaRegistry
let log: KafkaEventLog

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'freshet-role-generations-'))
  await mkdir(join(scratch, 'images'))
  servers = await ServerSet.start()
  env = {
    FRESHET_KAFKA_BROKERS: servers.kafka.brokers.join(','),
    FRESHET_REGISTRY_URL: servers.registry.url,
    FRESHET_REDIS_URL: servers.redis.url,
    FRESHET_DATA_DIR: join(scratch, 'data'),
    FRESHET_IMAGE_ROOTS: join(scratch, 'images'),
    FRESHET_STUB_MODEL: 'true',
    FRESHET_LOG_LEVEL: 'warn',
    FRESHET_SHARDS: '2',
    FRESHET_PARTITIONS: String(partitions),
    FRESHET_PORT: '0',
  }
  registry = new ConfluentSchemaRegistry({ urls: [servers.registry.url], timeoutMs: 10_000 })
  log = new KafkaEventLog({ brokers: servers.kafka.brokers, clientId: 'operator' })
}, 180_000)

afterAll(async () => {
  await Promise.all(roles.map(role => role.kill()))
  await log?.close()
  await registry?.close()
  await servers?.stop()
  await rm(scratch, { recursive: true, force: true })
}, 60_000)

async function start(role: RoleName, ...args: readonly string[]): Promise<RoleProcess> {
  const started = await RoleProcess.start(role, { env, args })
  roles.push(started)
  return started
}

/** SIGKILL. It is not among the roles afterwards. */
async function kill(role: RoleProcess): Promise<void> {
  roles = roles.filter(each => each !== role)
  await role.kill()
}

async function publish(prefix: string, count: number): Promise<string[]> {
  const items = Array.from({ length: count }, async (_, i) => {
    const itemId = `${prefix}-${i}`
    const path = join(scratch, 'images', `${itemId}.jpg`)
    await writeFile(path, `the picture of ${itemId}`)
    return { itemId, images: [pathToFileURL(path).href], title: itemId, category: 'Things', available: true }
  })
  const receipts: string[] = []
  for await (const line of client.bulk(await Promise.all(items))) {
    if ('error' in line) throw new Error(`${line.error.code}: ${line.error.message}`)
    receipts.push(line.receipt)
  }
  return receipts
}

type Decision = 'decidedAfter' | 'by' | 'atMs' | 'reason'
type Undecided = ControlRecord extends infer Each ? (Each extends ControlRecord ? Omit<Each, Decision> : never) : never

/** As an operator's desk does it. */
async function decide(record: Undecided): Promise<void> {
  const { control: codec } = await openCodecs(registry)
  const control = new ControlLog({ log, codec })
  const { lastAccepted } = await control.refresh()
  const decision = { decidedAfter: lastAccepted, by: 'test', atMs: Date.now(), reason: 'test' }
  await control.append({ ...record, ...decision } as ControlRecord)
}

async function build(generation: Generation, name: string): Promise<void> {
  const { model, fingerprint, dims } = new StubModel(name)
  const { catalog } = await openCodecs(registry)
  const kept = { log: { compactionLagMs: 3_600_000 }, dispatch: { tombstoneRetentionMs: 0 } }
  await log.ensureTopic(mutationTopicSpec({ partitions, ...kept }, generation))
  await decide({ type: 'ModelRegistered', model, fingerprint, dims, manifest: '{}' })
  const ends = await log.offsets(catalogTopic)
  await decide({
    type: 'GenerationStarted',
    generation,
    model,
    fingerprint,
    dims,
    shards: 2,
    backfillUntil: Array.from(ends.values(), ({ end }) => end ?? asOffset(0)),
    topicEpoch: await readTopicEpoch(log, catalog),
    from: null,
    weights: '',
    index: '',
    imagesPerSecond: 0,
  })
}

/** Digests of the live items of a generation's shards; null for a shard that is not ready or not told of. */
async function digests(generation: Generation): Promise<readonly (string | null)[]> {
  const { shards } = await client.status()
  return [0, 1].map(number => {
    const replicas = shards.find(({ shard }) => shard === number)?.replicas ?? []
    const held = replicas.find(replica => replica.generation === generation && replica.state === 'ready')
    return held === undefined ? null : JSON.stringify(held.digest)
  })
}

async function searchable(generation: Generation): Promise<number | undefined> {
  const { generations } = await client.status()
  return generations.find(({ id }) => id === generation)?.items?.searchable
}

const readiness = () => Promise.all(roles.map(async role => (await role.get('/readyz')).status))

async function generationOfAnswer(): Promise<string> {
  const image = { base64: Buffer.from('the picture of first-7').toString('base64') }
  const { generation, results } = await client.search({ image, k: 1 })
  expect(results[0]!.itemId).toBe('first-7')
  return generation
}

test('a second generation is filled beside the first, whoever dies meanwhile', async () => {
  for (const command of ['schemas register', 'topics apply'])
    expect(await runCli(command.split(' '), { environment: env, workingDir: scratch })).toMatchObject({ exitCode: 0 })
  const [lost, , shard] = await Promise.all([
    start('dispatch'),
    start('dispatch'),
    start('shard'),
    start('shard', '--shard', '1'),
    start('work'),
    start('gateway').then(gateway => {
      client = new FreshetClient({ baseUrl: gateway.url })
    }),
  ])
  expect(await awaitReceipts(client, await publish('first', 200))).toEqual([])
  await build(g2, 'stub-b')
  const receipts = await publish('second', 100)
  await Promise.all([kill(lost), kill(shard)])
  await start('shard')
  expect(await awaitReceipts(client, receipts)).toEqual([])
  await client.deleteAndWait('first-0', { timeoutMs: 30_000 })
  await expect.poll(() => searchable(g2), { timeout: 60_000 }).toBe(299)
  await expect
    .poll(async () => [await digests(g2), await digests(g1)], { timeout: 30_000 })
    .toSatisfy(
      ([second, first]: [readonly string[], readonly string[]]) =>
        !first.includes(null as never) && `${second}` === `${first}`,
    )
  expect(await generationOfAnswer()).toBe('g1')
  expect(await readiness()).toEqual(roles.map(() => 200))
}, 180_000)

test('a gateway routes by a new record within a second', async () => {
  await decide({ type: 'RoutingChanged', shares: { g2: 1 }, override: 'a test', rebuilds: {} })
  const decidedAtMs = performance.now()
  await expect.poll(generationOfAnswer, { timeout: 20_000, interval: 10 }).toBe('g2')
  console.log(`the gateway followed ${Math.round(performance.now() - decidedAtMs)} ms after the record was read back`)
})

test('a retired generation leaves nothing, and nobody minds', async () => {
  const directories = ['shard-0-a', 'shard-1-a'].map((name, shard) =>
    join(scratch, 'data', 'roles', name, 'shards', `g1-${shard}`),
  )
  expect(directories.map(existsSync)).toEqual([true, true])
  await decide({ type: 'GenerationRetired', generation: g1, override: 'a test' })
  await expect.poll(() => log.topicSpec(mutationTopic(g1)), { timeout: 60_000 }).toBeNull()
  expect(directories.map(existsSync)).toEqual([false, false])
  expect(await awaitReceipts(client, await publish('third', 20))).toEqual([])
  await pause(1_500)
  expect(await generationOfAnswer()).toBe('g2')
  expect(await readiness()).toEqual(roles.map(() => 200))
  const { generations, pipeline } = await client.status()
  expect(generations.map(({ id }) => id)).toEqual(['g2'])
  expect(pipeline.alarms).toEqual([])
  expect(await log.topicSpec(mutationTopic(g1))).toBeNull()
  const ended = await Promise.all(roles.map(role => role.stop()))
  expect(ended).toEqual(roles.map(() => 0))
  roles = []
}, 120_000)
