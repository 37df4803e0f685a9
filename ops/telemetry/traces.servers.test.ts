import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCodecs } from '../../schemas/avro/codec.ts'
import { parseItemId } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { ConfluentSchemaRegistry } from '../../topologies/confluent/confluent-schema-registry.ts'
import { KafkaEventLog } from '../../topologies/kafka/kafka-event-log.ts'
import { ServerSet } from '../../topologies/servers/server-set.ts'
import { readSources } from '../import-rules.ts'
import type { RoleName } from '../roles/role.ts'
import { RoleProcess } from '../testing/role-process.ts'
import { runFreshet } from '../testing/run-freshet.ts'
import { childOf, childrenOf, OtlpReceiver, type ReceivedSpan } from './testing/otlp-receiver.ts'
import { parsePrometheusPage, sampleOf } from './testing/prometheus-page.ts'

/** The roles as processes over real servers, with a collector that takes what they tell. */
let scratch: string
let servers: ServerSet
let collector: OtlpReceiver
let env: Record<string, string>
const roles: RoleProcess[] = []

const withinMs = 60_000
const partitions = 4

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'freshet-traces-'))
  await mkdir(join(scratch, 'images'))
  collector = await OtlpReceiver.start()
  servers = await ServerSet.start()
  env = {
    ...collector.environment,
    FRESHET_KAFKA_BROKERS: servers.kafka.brokers.join(','),
    FRESHET_REGISTRY_URL: servers.registry.url,
    FRESHET_REDIS_URL: servers.redis.url,
    FRESHET_DATA_DIR: join(scratch, 'data'),
    FRESHET_IMAGE_ROOTS: join(scratch, 'images'),
    FRESHET_STUB_MODEL: 'true',
    FRESHET_LOG_LEVEL: 'warn',
    FRESHET_PARTITIONS: String(partitions),
    FRESHET_SHARDS: '2',
  }
  for (const command of ['schemas register', 'topics apply']) await runFreshet(command.split(' '), env)
  await Promise.all([
    start('dispatch'),
    start('work'),
    start('shard', '--shard', '0', '--replica', 'a'),
    start('shard', '--shard', '0', '--replica', 'b'),
    start('shard', '--shard', '1', '--replica', 'a'),
    start('shard', '--shard', '1', '--replica', 'b'),
    start('gateway', '--port', '0'),
  ])
}, 300_000)

afterAll(async () => {
  await Promise.all(roles.map(role => role.kill()))
  await servers?.stop()
  await collector?.stop()
  await rm(scratch, { recursive: true, force: true })
}, 60_000)

async function start(role: RoleName, ...args: readonly string[]): Promise<void> {
  roles.push(await RoleProcess.start(role, { env, args, readyWithinMs: 120_000 }))
}

/** What a traced caller sends, and the trace it is of. */
function newTrace(flags = '01') {
  const traceId = randomBytes(16).toString('hex')
  const spanId = randomBytes(8).toString('hex')
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-${flags}`, tracestate: 'shop=1' } }
}

const urlOf = (role: RoleName): string => roles.find(each => each.role === role)!.url

/** Publishes an item with a picture of its own, and waits until it is searchable everywhere. */
async function publish(itemId: string, headers: Readonly<Record<string, string>>): Promise<void> {
  const path = join(scratch, 'images', `${itemId}.jpg`)
  await writeFile(path, `the picture of ${itemId}`)
  const response = await fetch(`${urlOf('gateway')}/v1/items/${itemId}?wait=searchable&timeoutMs=60000`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ images: [pathToFileURL(path).href], title: itemId }),
  })
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('searchable')])
}

/** The mutation is applied: its register on each replica. */
const applied = (spans: readonly ReceivedSpan[], mutation: string): readonly string[] =>
  spans
    .filter(
      ({ name, attributes }) =>
        name.startsWith('process freshet.mutations') && attributes['freshet.mutation'] === mutation,
    )
    .map(({ attributes }) => String(attributes['freshet.replica']))
    .sort()

test('one trace from the call that publishes to both replicas that made it searchable', async () => {
  const { traceId, spanId, headers } = newTrace()
  await publish('traced', headers)
  const spans = () => collector.ofTrace(traceId)
  await expect.poll(() => applied(spans(), 'ObjectsPut'), { timeout: withinMs }).toHaveLength(2)
  await expect.poll(() => applied(spans(), 'AttributesPut'), { timeout: withinMs }).toHaveLength(2)
  await expect.poll(() => spans().some(({ parentSpanId }) => parentSpanId === spanId), { timeout: withinMs }).toBe(true)
  await expect.poll(() => spans().some(({ name }) => name === 'process work'), { timeout: withinMs }).toBe(true)

  const all = spans()
  const put = all.find(({ parentSpanId }) => parentSpanId === spanId)!
  expect(put).toMatchObject({ service: 'freshet-gateway', name: 'PUT /v1/items/:id', kind: 2, isError: false })
  expect(put.attributes).toMatchObject({ 'http.response.status_code': 200, 'http.route': '/v1/items/:id' })
  const accepted = childOf(all, put, 'send freshet.catalog')
  expect(accepted).toMatchObject({ service: 'freshet-gateway', kind: 4 })
  expect(accepted.attributes).toMatchObject({ 'messaging.system': 'kafka' })
  const dispatched = childOf(all, accepted, 'process freshet.catalog')
  expect(dispatched).toMatchObject({ service: 'freshet-dispatch', kind: 5 })
  expect(dispatched.attributes).toMatchObject({ 'freshet.item.id': 'traced', 'freshet.generation': 'g1' })
  const worked = childOf(all, dispatched, 'process work')
  expect(worked).toMatchObject({ service: 'freshet-work', kind: 5 })
  for (const part of ['fetch', 'model']) expect(childOf(all, worked, part)).toMatchObject({ kind: 1 })

  for (const [writer, mutation] of [
    [dispatched, 'AttributesPut'],
    [worked, 'ObjectsPut'],
  ] as const) {
    const written = childOf(all, writer, 'send freshet.mutations.g1')
    const read = childrenOf(all, written, 'process freshet.mutations.g1')
    expect(read.map(({ service }) => service)).toEqual(['freshet-shard', 'freshet-shard'])
    expect(read.map(({ attributes }) => attributes['freshet.mutation'])).toEqual([mutation, mutation])
    const replicas = new Set(read.map(({ attributes }) => attributes['freshet.replica']))
    expect(replicas.size).toBe(2)
    expect(new Set(read.map(({ attributes }) => attributes['freshet.shard'])).size).toBe(1)
  }
})

test('a trace that is not sampled makes no spans', async () => {
  const silent = newTrace('00')
  await publish('unsampled', silent.headers)
  const loud = newTrace()
  await publish('sampled', loud.headers)
  await expect.poll(() => applied(collector.ofTrace(loud.traceId), 'ObjectsPut'), { timeout: withinMs }).toHaveLength(2)
  expect(collector.ofTrace(silent.traceId)).toEqual([])
})

test('a record that a service writes to the topic itself goes on in the trace of its header', async () => {
  const { traceId, spanId, headers } = newTrace()
  const registry = new ConfluentSchemaRegistry({ urls: [servers.registry.url], timeoutMs: 10_000 })
  const log = new KafkaEventLog({ brokers: servers.kafka.brokers, clientId: 'catalogue-service' })
  const itemId = parseItemId('foreign')
  const { catalog } = await openCodecs(registry)
  const record = {
    partition: partitionOf(itemId, partitions),
    key: Buffer.from(itemId),
    value: catalog.encode({ type: 'ItemDeleted', itemId }),
    headers,
  }
  await log.append(catalogTopic, [record])
  await expect.poll(() => applied(collector.ofTrace(traceId), 'ItemRemoved'), { timeout: withinMs }).toHaveLength(2)
  const dispatched = () => collector.ofTrace(traceId).find(({ name }) => name === 'process freshet.catalog')
  await expect
    .poll(dispatched, { timeout: withinMs })
    .toMatchObject({ service: 'freshet-dispatch', parentSpanId: spanId })
  await log.close()
  await registry.close()
})

test('what fails is told by its span and in the log, with the ids of the trace and of the event', async () => {
  const { traceId, headers } = newTrace()
  const images = [pathToFileURL(join(scratch, 'images', 'nowhere.jpg')).href]
  const response = await fetch(`${urlOf('gateway')}/v1/items/lost?wait=searchable&timeoutMs=60000`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ images }),
  })
  expect(response.status).toBe(422)
  const failed = () => collector.ofTrace(traceId).filter(({ isError }) => isError)
  await expect
    .poll(
      () =>
        failed()
          .map(({ name }) => name)
          .sort(),
      { timeout: withinMs },
    )
    .toEqual(['fetch', 'process work'])
  for (const { attributes } of failed()) expect(attributes['error.type']).toBe('image-not-found')
  const worker = roles.find(({ role }) => role === 'work')!
  const line = worker
    .output()
    .split('\n')
    .find(each => each.includes('image work is given up'))
  expect(JSON.parse(line ?? '{}')).toMatchObject({
    trace_id: traceId,
    span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
    itemId: 'lost',
    partition: expect.any(Number),
    offset: expect.any(Number),
    code: 'image-not-found',
    role: 'work',
  })
})

test('one trace from a search over a call to every shard', async () => {
  const { traceId, spanId, headers } = newTrace()
  const image = { base64: Buffer.from('the picture of traced').toString('base64') }
  const response = await fetch(`${urlOf('gateway')}/v1/search`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ image, k: 3 }),
  })
  expect(response.status).toBe(200)
  const spans = () => collector.ofTrace(traceId)
  const served = () => spans().filter(({ service, kind }) => service === 'freshet-shard' && kind === 2)
  await expect.poll(() => served().length, { timeout: withinMs }).toBeGreaterThanOrEqual(2)
  await expect.poll(() => spans().some(({ parentSpanId }) => parentSpanId === spanId), { timeout: withinMs }).toBe(true)
  const all = spans()
  const search = all.find(({ parentSpanId }) => parentSpanId === spanId)!
  expect(search).toMatchObject({ service: 'freshet-gateway', name: 'POST /v1/search', kind: 2 })
  expect(childOf(all, search, 'analyse').attributes).toMatchObject({ 'freshet.model': expect.any(String) })
  const attempts = childrenOf(all, search, 'search shard')
  const answered = attempts.filter(attempt => {
    const [call] = childrenOf(all, attempt, 'SEARCH shard')
    if (call === undefined) return false
    const [answer] = childrenOf(all, call, 'SEARCH /shard/v1/searches')
    expect(call).toMatchObject({ service: 'freshet-gateway', kind: 3 })
    expect(call.attributes).toMatchObject({ 'server.address': '127.0.0.1', 'url.path': '/shard/v1/searches' })
    return answer?.service === 'freshet-shard'
  })
  expect(new Set(answered.map(({ attributes }) => attributes['freshet.shard'])).size).toBe(2)
  expect(answered.map(({ attributes }) => typeof attributes['freshet.hedge'])).toContain('boolean')
})

/** Of each role, families that its operator watches. */
const families: Readonly<Record<RoleName, readonly string[]>> = {
  dispatch: [
    'freshet_dispatch_lag_events',
    'freshet_dispatch_watermark_offset',
    'freshet_dispatch_index_age_seconds',
    'freshet_dispatch_pending_images',
    'freshet_dispatch_since_start',
    'messaging_client_operation_duration_seconds',
  ],
  work: [
    'freshet_queue_jobs',
    'freshet_work_jobs_in_flight',
    'freshet_work_since_start',
    'freshet_work_stage_duration_seconds',
    'messaging_client_operation_duration_seconds',
  ],
  shard: [
    'freshet_replica_ready',
    'freshet_replica_index_age_seconds',
    'freshet_replica_watermark_offset',
    'freshet_replica_watermark_lag_events',
    'freshet_replica_apply_duration_seconds',
    'freshet_replica_apply_delay_seconds',
    'freshet_refused_records',
    'http_server_request_duration_seconds',
  ],
  gateway: [
    'freshet_ready',
    'freshet_items',
    'freshet_index_age_seconds',
    'freshet_queue_jobs',
    'freshet_dead_letters',
    'freshet_alarms',
    'freshet_replica_recall_samples',
    'freshet_search_stage_duration_seconds',
    'freshet_search_shard_duration_seconds',
    'freshet_search_degraded_total',
    'freshet_http_requests_total',
    'freshet_http_request_duration_seconds',
    'http_server_request_duration_seconds',
    'messaging_client_operation_duration_seconds',
  ],
}

/** Of child processes, and what is measured or written later than this test ends. */
const withoutSeries = new Set([
  'freshet_process_restarts',
  'freshet_replica_recall',
  'freshet_replica_checkpoint_timestamp_seconds',
  'freshet_probe_failed',
  'freshet_probe_self_first',
  'freshet_probe_recall',
  'freshet_probe_norm_deviation',
  'freshet_probe_wrong_dims',
  'freshet_probe_recall_divergence',
  'freshet_probe_timestamp_seconds',
])

/** Counters have no series until something is counted: these are known by the source that makes them. */
const counters = new Set(
  readSources(fileURLToPath(new URL('../..', import.meta.url)))
    .flatMap(({ text }) => [...text.matchAll(/createCounter\('([a-z._]+)'/g)])
    .map(([, name]) => `${name!.replaceAll('.', '_')}_total`),
)

/** Families that a document names. */
function namedIn(document: string): readonly string[] {
  const whole = readFileSync(new URL(`../../${document}`, import.meta.url), 'utf8')
  const [, text = ''] = /^## Watching it\n([\s\S]*?)^## /m.exec(whole) ?? ['', whole]
  const names = text.match(/\b(freshet|http_server|messaging|process|nodejs)_[a-z0-9_]+\b/g) ?? []
  return names.map(name => name.replace(/(?<=_seconds)_bucket$/, ''))
}

test('every role has a page of metrics, each family with its meaning, and a collector gets the same', async () => {
  for (const role of roles) {
    const { status, text } = await role.get('/metrics')
    expect(status).toBe(200)
    const page = parsePrometheusPage(text)
    const missing = [...families[role.role], 'process_cpu_time_seconds_total'].filter(name => !page.has(name))
    expect(missing, `${role.role}: of ${[...page.keys()].join(' ')}`).toEqual([])
    expect(sampleOf(page, 'target_info', { service_name: `freshet-${role.role}` })).toBe(1)
  }
  const told = new Set<string>()
  for (const role of roles)
    for (const name of parsePrometheusPage((await role.get('/metrics')).text).keys()) told.add(name)
  for (const document of ['README.md', 'ops/alerts.yaml']) {
    expect(namedIn(document).length, document).toBeGreaterThan(10)
    expect(
      namedIn(document).filter(name => !told.has(name) && !counters.has(name) && !withoutSeries.has(name)),
      document,
    ).toEqual([])
  }

  const [worker] = roles.filter(({ role }) => role === 'work')
  const page = parsePrometheusPage((await worker!.get('/metrics')).text)
  for (const stage of ['fetch', 'model', 'job'])
    expect(sampleOf(page, 'freshet_work_stage_duration_seconds_count', { stage }), stage).toBeGreaterThanOrEqual(3)
  const services = ['dispatch', 'gateway', 'shard', 'work'].map(role => `freshet-${role}`)
  await expect.poll(() => [...collector.metrics.keys()].sort(), { timeout: withinMs }).toEqual(services)
  expect([...collector.metrics.get('freshet-shard')!]).toContain('freshet.replica.index_age')
})
