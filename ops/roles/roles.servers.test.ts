import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCodecs } from '../../schemas/avro/codec.ts'
import type { ItemUpserted } from '../../schemas/catalog-event.ts'
import { FreshetClient } from '../../schemas/client.ts'
import type { Item } from '../../schemas/http-items.ts'
import { parseItemId } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { ConfluentSchemaRegistry } from '../../topologies/confluent/confluent-schema-registry.ts'
import { KafkaEventLog } from '../../topologies/kafka/kafka-event-log.ts'
import { ServerSet } from '../../topologies/servers/server-set.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { RoleProcess } from '../testing/role-process.ts'
import { type RoleName, roleNames } from './role.ts'

/** The distributed form as it is run: every role a process of its own, over a real Kafka, registry and Redis. */
const root = fileURLToPath(new URL('../..', import.meta.url))
let scratch: string
let servers: ServerSet
let env: Record<string, string>
let roles: RoleProcess[] = []
/** Empty before it runs. */
let gatewayUrl = ''
let client: FreshetClient

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'freshet-roles-'))
  await mkdir(join(scratch, 'images'))
  servers = await ServerSet.start()
  env = {
    FRESHET_KAFKA_BROKERS: servers.kafka.brokers.join(','),
    FRESHET_REGISTRY_URL: servers.registry.url,
    FRESHET_REDIS_URL: servers.redis.url,
    FRESHET_DATA_DIR: join(scratch, 'data'),
    FRESHET_IMAGE_ROOTS: join(scratch, 'images'),
    FRESHET_STUB_MODEL: 'true',
    FRESHET_INTERNAL_SECRET: 'between us',
    FRESHET_LOG_LEVEL: 'warn',
    FRESHET_SHARDS: '2',
    FRESHET_SHARD_SNAPSHOT_ROOTS: join(scratch, 'snapshots'),
  }
}, 180_000)

afterAll(async () => {
  await Promise.all(roles.map(role => role.kill()))
  await servers?.stop()
  await rm(scratch, { recursive: true, force: true })
}, 60_000)

/** The shell blocks of the section. */
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const section = readme.slice(readme.indexOf('## On Kafka'), readme.indexOf('## Limits'))
const readmeBlocks = [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block!)

function run(block: string) {
  const PATH = `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}`
  const surroundings = { ...process.env, ...env, PATH, FRESHET_URL: gatewayUrl }
  return spawnSync('bash', ['-ec', block], { cwd: root, encoding: 'utf8', env: surroundings })
}

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

/** An item with a picture of its own. */
async function item(itemId: string, details: Partial<Item> = {}): Promise<Item> {
  const path = join(scratch, 'images', `${itemId}.jpg`)
  await writeFile(path, `the picture of ${itemId}`)
  return {
    itemId,
    images: [pathToFileURL(path).href],
    title: `Item ${itemId}`,
    category: 'Things',
    price: 10,
    currency: 'EUR',
    available: true,
    ...details,
  }
}

/** Publishes items in one stream; their receipts. */
async function publish(ids: readonly string[]): Promise<string[]> {
  const receipts: string[] = []
  for await (const line of client.bulk(await Promise.all(ids.map(id => item(id))))) {
    if ('error' in line) throw new Error(`${line.error.code}: ${line.error.message}`)
    receipts.push(line.receipt)
  }
  return receipts
}

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}-${i}`)

/** What the item's own picture finds first. */
async function found(itemId: string): Promise<string | undefined> {
  const image = Buffer.from(`the picture of ${itemId}`).toString('base64')
  const { results } = await client.search({ image: { base64: image }, k: 3 })
  return results[0]?.itemId
}

/** Each replica that holds one of these items, and each state in which one of them is there. */
async function standings(receipts: readonly string[]): Promise<readonly string[]> {
  const told = await Promise.all(receipts.map(receipt => client.receipt(receipt)))
  const replicas = told.flatMap(({ generations }) => generations.flatMap(each => each.replicas))
  return [...new Set(replicas.map(({ replica, status }) => `${replica} ${status}`))].sort()
}

const everywhere = ['g1-0-a', 'g1-0-b', 'g1-1-a', 'g1-1-b'].map(replica => `${replica} searchable`)

/** As a catalogue service does that writes to the topic itself. */
async function publishToKafka(itemId: string): Promise<void> {
  const registry = new ConfluentSchemaRegistry({ urls: [servers.registry.url], timeoutMs: 10_000 })
  const log = new KafkaEventLog({ brokers: servers.kafka.brokers, clientId: 'catalogue-service' })
  try {
    const { catalog } = await openCodecs(registry)
    const { images = [], title = '' } = await item(itemId)
    const event: ItemUpserted = {
      type: 'ItemUpserted',
      itemId: parseItemId(itemId),
      images,
      imageVersion: '',
      refresh: false,
      title,
      category: 'Things',
      price: 10,
      currency: 'EUR',
      regions: [],
      available: true,
      attributes: {},
    }
    const partition = partitionOf(event.itemId, await log.partitionCount(catalogTopic))
    await log.append(catalogTopic, [{ partition, key: Buffer.from(itemId), value: catalog.encode(event) }])
  } finally {
    await log.close()
    await registry.close()
  }
}

test('without its topics and schemas a role ends, and says what to do', async () => {
  await expect(start('dispatch')).rejects.toThrow(/exited with 1 [\s\S]*freshet schemas register/)
  const [register, apply] = readmeBlocks[1]!.trim().split('\n')
  expect(run(register!)).toMatchObject({ status: 0 })
  await expect(start('dispatch')).rejects.toThrow(/exited with 1 [\s\S]*freshet topics apply/)
  expect(run(apply!)).toMatchObject({ status: 0 })
})

test('what is published is searchable on every replica, whoever dies meanwhile', async () => {
  const [lost, lostReplica] = await Promise.all([
    start('dispatch'),
    start('shard', '--replica', 'b'),
    start('dispatch'),
    start('shard'),
    start('shard', '--shard', '1'),
    start('shard', '--shard', '1', '--replica', 'b'),
    start('work'),
    start('gateway', '--port', '0').then(started => {
      gatewayUrl = started.url
    }),
  ])
  client = new FreshetClient({ baseUrl: gatewayUrl })

  const first = await publish(names('first', 150))
  expect(await awaitReceipts(client, first)).toEqual([])
  expect(await standings(first)).toEqual(everywhere)
  expect(await found('first-7')).toBe('first-7')
  await publishToKafka('foreign')
  await expect.poll(() => found('foreign'), { timeout: 30_000 }).toBe('foreign')

  await client.publishAndWait(await item('first-7', { price: 99 }), { timeoutMs: 30_000 })
  expect(await client.item('first-7')).toMatchObject({ price: 99 })
  const removal = await client.deleteAndWait('first-8', { timeoutMs: 30_000 })
  expect(removal.status).toBe('removed')
  expect(await found('first-8')).not.toBe('first-8')

  const second = publish(names('second', 150))
  await Promise.all([kill(lost), kill(lostReplica)])
  const settling = { isOver: false }
  const settled = second
    .then(receipts => awaitReceipts(client, receipts))
    .finally(() => {
      settling.isOver = true
    })
  while (!settling.isOver) for (const id of names('first', 5)) expect(await found(id)).toBe(id)
  expect(await settled).toEqual([])
  await start('shard', '--replica', 'b')
  const receipts = await second
  await expect.poll(() => standings(receipts), { timeout: 30_000 }).toEqual(everywhere)
  expect(await standings([removal.receipt])).toEqual([
    expect.stringMatching(/^g1-[01]-a removed$/),
    expect.stringMatching(/^g1-[01]-b removed$/),
  ])
  expect(await found('first-8')).not.toBe('first-8')
  await expect(client.item('first-8')).rejects.toMatchObject({ code: 'item-not-found' })
}, 150_000)

test('what sessions do with a result counts in the rankings of the gateway', async () => {
  const image = { base64: Buffer.from('the picture of first-9').toString('base64') }
  const clickRate = async () => {
    const { results } = await client.search({ image, k: 1, explain: true })
    return results[0]!.explain!.ranking!.find(({ part }) => part === 'clickRate')!.value
  }
  const before = await clickRate()
  for (let n = 0; n < 5; n++) {
    const { queryId, results } = await client.search({ image, k: 1, session: `session ${n}` })
    expect(results[0]!.itemId).toBe('first-9')
    await client.engage([{ queryId, itemId: 'first-9', action: 'click', position: 0 }])
  }
  await expect.poll(clickRate, { timeout: 30_000 }).toBeGreaterThan(before + 0.1)
})

test('the gateway tells which items became searchable last, and how many do a second', async () => {
  await client.publishAndWait(await item('latest'), { timeoutMs: 30_000 })
  for await (const { recent, status } of client.events(AbortSignal.timeout(30_000))) {
    if (!recent.some(({ itemId }) => itemId === 'latest')) continue
    expect(status.rates.searchable).toBeGreaterThan(0)
    return
  }
})

test('the section of the README works as it is written', () => {
  const [stack, , ...others] = readmeBlocks
  expect([stack, ...others.slice(0, -1)]).toEqual([
    'npm run stack\n',
    ...roleNames.map(role => `npx freshet ${role}\n`),
  ])
  const { status, stdout } = run(others.at(-1)!.replaceAll('http://127.0.0.1:7480', gatewayUrl))
  expect(status).toBe(0)
  expect(stdout).toContain('"status":"searchable"')
  expect(stdout).toMatch(/^1 .* my-chair /m)
  expect(stdout).toMatch(/^freshet {2}● ready/m)
})

test('a dead letter is redriven by the dispatcher that owns its partition', async () => {
  const late = await item('late')
  await rm(join(scratch, 'images', 'late.jpg'))
  await client.publish(late)
  await expect
    .poll(() => client.deadLetters(), { timeout: 30_000 })
    .toMatchObject({ deadLetters: [{ itemId: 'late' }] })
  await item('late')
  const [letter] = (await client.deadLetters()).deadLetters
  expect(await client.redriveDeadLetter(letter!.id)).toMatchObject({ outcome: 'queued' })
  await expect.poll(() => found('late'), { timeout: 30_000 }).toBe('late')
  await expect
    .poll(() => client.status(), { timeout: 10_000 })
    .toMatchObject({ pipeline: { deadLetters: 0, alarms: [] } })
}, 60_000)

test('Kafka and Redis that die and come back cost nothing but time, and searches not even that', async () => {
  const receipts = await publish(names('third', 50))
  await Promise.all([servers.kafka.kill(), servers.redis.kill()])
  for (const id of names('first', 5)) expect(await found(id)).toBe(id)
  await Promise.all([servers.kafka.startAgain(), servers.redis.startAgain()])
  expect(await awaitReceipts(client, receipts)).toEqual([])
  expect(await awaitReceipts(client, await publish(names('fourth', 50)))).toEqual([])
  const ready = async () => Promise.all(roles.map(async role => (await role.get('/readyz')).status))
  await expect.poll(ready, { timeout: 30_000 }).toEqual(roles.map(() => 200))
}, 90_000)

test('each shard writes a snapshot where its machine allows that', async () => {
  const directory = join(scratch, 'snapshots', 'one')
  const { shards } = await client.snapshot({ directory })
  expect(shards.map(({ shard, directory: each }) => [shard, each]).sort()).toEqual([
    [0, join(directory, 'g1-0')],
    [1, join(directory, 'g1-1')],
  ])
  for (const { directory: each } of shards) expect(await readdir(each)).toContain('MANIFEST')
  await expect(client.snapshot({ directory: join(scratch, 'elsewhere') })).rejects.toMatchObject({
    code: 'bad-request',
  })
})

test('every role tells probes and collectors how it is, and dispatchers and shards tell nobody else more', async () => {
  for (const role of roles)
    for (const path of ['/healthz', '/readyz', '/metrics'])
      expect(await role.get(path), `${role.role}${path}`).toMatchObject({ status: 200 })
  const [dispatcher] = roles.filter(({ role }) => role === 'dispatch')
  const asked = await fetch(`${dispatcher!.url}/dispatch/v1/redrive`, { method: 'POST' })
  expect(asked.status).toBe(401)
  const [shard] = roles.filter(({ role }) => role === 'shard')
  expect(await shard!.get('/shard/v1/g1-0-a/status')).toMatchObject({ status: 401 })
})

test('SIGTERM drains every role', async () => {
  const ended = await Promise.all(roles.map(async role => [role.role, await role.stop()] as const))
  roles = []
  expect(ended).toEqual(ended.map(([role]) => [role, 0]))
}, 60_000)
