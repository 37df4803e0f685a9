import { connect } from 'node:net'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  allPartitions,
  fingerprint,
  type GatewayFixture,
  generation,
  hit,
  openGateway,
  unitVector,
} from '../../query-gateway/testing/gateway-fixture.ts'
import { TableReplica } from '../../query-gateway/testing/table-replica.ts'
import { FreshetError } from '../../schemas/errors.ts'
import { openTelemetry, type Telemetry } from './telemetry.ts'
import { parsePrometheusPage, sampleOf } from './testing/prometheus-page.ts'

let telemetry: Telemetry
let gateway: GatewayFixture

beforeEach(async () => {
  telemetry = await openTelemetry({ role: 'gateway', environment: {}, log: pino({ level: 'silent' }) })
  const { meter, metricsText } = telemetry
  gateway = await openGateway({ options: { meter, metricsText } })
})

afterEach(async () => {
  await gateway.close()
  await telemetry.close()
})

async function page() {
  const response = await gateway.app.inject('/metrics')
  expect(response.headers['content-type']).toContain('text/plain; version=0.0.4')
  return parsePrometheusPage(response.body)
}

test('the state of the index, its replicas and the pipeline', async () => {
  const families = await page()
  expect(sampleOf(families, 'freshet_ready')).toBe(1)
  expect(sampleOf(families, 'freshet_items', { state: 'searchable' })).toBe(3)
  expect(sampleOf(families, 'freshet_index_age_seconds')).toBe(0)
  expect(sampleOf(families, 'freshet_queue_jobs', { state: 'backfill' })).toBe(5)
  expect(sampleOf(families, 'freshet_dead_letters')).toBe(0)
  expect(sampleOf(families, 'freshet_alarms')).toBe(0)
  expect(sampleOf(families, 'freshet_process_restarts', { process: 'model-0' })).toBe(0)
  const replica = { generation: 'g1', shard: '0', replica: 'r0' }
  expect(sampleOf(families, 'freshet_replica_ready', replica)).toBe(1)
  expect(sampleOf(families, 'freshet_replica_memory_bytes_per_vector', replica)).toBe(128)
  expect(sampleOf(families, 'freshet_replica_recall', replica)).toBe(0.995)
  expect(sampleOf(families, 'freshet_replica_watermark_lag_events', replica)).toBeDefined()
})

test('searches, and the state, by generation', async () => {
  gateway.replica.hits = [hit('a', 0.87)]
  const search = (vector: readonly number[]) =>
    gateway.app.inject({ method: 'POST', url: '/v1/search', payload: { vector, fingerprint } })
  await search([...unitVector])
  gateway.replica.hits = []
  await search([...unitVector])
  gateway.replica.trouble = new FreshetError('storage-failed', 'disk')
  await search([...unitVector])
  const families = await page()
  const of = { generation: 'g1' }
  expect(sampleOf(families, 'freshet_generation_searches_total', { ...of, outcome: 'answered' })).toBe(2)
  expect(sampleOf(families, 'freshet_generation_searches_total', { ...of, outcome: 'failed' })).toBe(1)
  expect(sampleOf(families, 'freshet_generation_searches_without_results_total', of)).toBe(1)
  expect(sampleOf(families, 'freshet_generation_search_duration_seconds_count', of)).toBe(2)
  expect(sampleOf(families, 'freshet_generation_top_similarity_bucket', { ...of, le: '0.85' })).toBe(0)
  expect(sampleOf(families, 'freshet_generation_top_similarity_bucket', { ...of, le: '0.9' })).toBe(1)
  expect(sampleOf(families, 'freshet_generation_share', { ...of, state: 'active' })).toBe(1)
  expect(sampleOf(families, 'freshet_generation_held', of)).toBe(1)
  expect(sampleOf(families, 'freshet_generation_index_age_seconds', of)).toBe(0)
})

test('requests by route and status, with their durations', async () => {
  await gateway.app.inject({ method: 'DELETE', url: '/v1/items/some%2Fitem' })
  await gateway.app.inject('/v1/nope')
  const families = await page()
  const route = 'DELETE /v1/items/:id'
  expect(sampleOf(families, 'freshet_http_requests_total', { route, status: '202' })).toBe(1)
  expect(sampleOf(families, 'freshet_http_request_duration_seconds_bucket', { route, le: '+Inf' })).toBe(1)
})

test('the time that each stage of a search took', async () => {
  gateway.replica.hits = [hit('a', 0.9)]
  const search = { method: 'POST', url: '/v1/search', payload: { vector: [...unitVector], fingerprint } } as const
  expect((await gateway.app.inject(search)).statusCode).toBe(200)
  const before = await page()
  for (const stage of ['shards', 'rank', 'total'])
    expect(sampleOf(before, 'freshet_search_stage_duration_seconds_count', { stage }), stage).toBe(1)
  expect(sampleOf(before, 'freshet_search_degraded_total')).toBe(0)
})

test('why answers were not whole', async () => {
  const replicas = [0, 1].map(shard => new TableReplica({ shard, replica: `r${shard}`, partitions: allPartitions }))
  replicas[1]!.trouble = new FreshetError('internal', 'it fell over')
  const { meter, metricsText } = telemetry
  const routing = () => [{ ...generation, shards: 2 }]
  const halved = await openGateway({ replicas, ports: { routing }, options: { meter, metricsText } })
  const payload = { vector: [...unitVector], fingerprint }
  const answer = await halved.app.inject({ method: 'POST', url: '/v1/search', payload })
  expect(answer.json().degraded).toEqual(['shard-failed'])
  const families = await page()
  expect(sampleOf(families, 'freshet_search_degraded_total')).toBe(1)
  expect(sampleOf(families, 'freshet_search_degradations_total', { code: 'shard-failed' })).toBe(1)
  await halved.close()
})

test('a caller who goes away is neither a failure nor an answer that was not whole', async () => {
  const replicas = [0, 1].map(shard => new TableReplica({ shard, replica: `r${shard}`, partitions: allPartitions }))
  replicas[1]!.trouble = 'hang'
  const { meter, metricsText } = telemetry
  const routing = () => [{ ...generation, shards: 2 }]
  const halved = await openGateway({ replicas, ports: { routing }, options: { meter, metricsText } })
  const url = new URL(await halved.app.listen({ host: '127.0.0.1', port: 0 }))
  const body = JSON.stringify({ vector: [...unitVector], fingerprint })
  const socket = connect(Number(url.port), url.hostname)
  const head = `content-type: application/json\r\ncontent-length: ${body.length}`
  socket.write(`POST /v1/search HTTP/1.1\r\nhost: localhost\r\n${head}\r\n\r\n${body}`)
  await vi.waitUntil(() => replicas[1]!.searches.length === 1)
  socket.destroy()
  await vi.waitUntil(async () => sampleOf(await page(), 'freshet_query_running', { lane: 'lookups' }) === 0)
  const families = await page()
  expect(sampleOf(families, 'freshet_search_degraded_total')).toBe(0)
  for (const outcome of ['answered', 'failed'])
    expect(sampleOf(families, 'freshet_generation_searches_total', { generation: 'g1', outcome }) ?? 0, outcome).toBe(0)
  await halved.close()
})
