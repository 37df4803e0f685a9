import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  allPartitions,
  type GatewayFixture,
  hit,
  openGateway,
  picture,
} from '../query-gateway/testing/gateway-fixture.ts'
import { TableReplica } from '../query-gateway/testing/table-replica.ts'
import { openTelemetry, type Telemetry } from './telemetry/telemetry.ts'
import { parsePrometheusPage, sampleOf } from './telemetry/testing/prometheus-page.ts'

let telemetry: Telemetry
let gateway: GatewayFixture

beforeEach(async () => {
  telemetry = await openTelemetry({ role: 'gateway', environment: {}, log: pino({ level: 'silent' }) })
  const { meter, metricsText } = telemetry
  const replica = new TableReplica({ partitions: allPartitions })
  Object.assign(replica, { content: () => ({ writes: 1, watermarks: {}, indexAgeMs: 0 }) })
  replica.hits = [hit('a', 0.9)]
  gateway = await openGateway({ replicas: [replica], options: { meter, metricsText } })
})

afterEach(async () => {
  await gateway.close()
  await telemetry.close()
})

test('hits of the caches, reads of rates and recorded answers are counted', async () => {
  const payload = { image: { base64: picture.toString('base64') }, session: 'visit' }
  for (const _ of [1, 2, 3])
    expect((await gateway.app.inject({ method: 'POST', url: '/v1/search', payload })).statusCode).toBe(200)
  const families = async () => parsePrometheusPage((await gateway.app.inject('/metrics')).body)
  await expect
    .poll(async () => sampleOf(await families(), 'freshet_engagement_shown_total', { outcome: 'recorded' }))
    .toBe(3)
  const told = await families()
  for (const cache of ['picture', 'candidates']) {
    expect(sampleOf(told, 'freshet_cache_lookups_total', { cache, outcome: 'miss' }), cache).toBe(1)
    expect(sampleOf(told, 'freshet_cache_lookups_total', { cache, outcome: 'hit' }), cache).toBe(2)
    expect(sampleOf(told, 'freshet_cache_entries', { cache }), cache).toBe(1)
    expect(sampleOf(told, 'freshet_cache_size_bytes', { cache }), cache).toBeGreaterThan(100)
  }
  expect(sampleOf(told, 'freshet_ranking_feature_reads_total', { outcome: 'answered' })).toBe(3)
})
