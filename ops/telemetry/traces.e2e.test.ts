import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetClient } from '../../schemas/client.ts'
import { demoDirectory } from '../demo-catalog.ts'
import { type ServerProcess, startServerProcess } from '../testing/server-process.ts'
import { childOf, childrenOf, OtlpReceiver } from './testing/otlp-receiver.ts'
import { parsePrometheusPage } from './testing/prometheus-page.ts'

/** One server that does everything, with its models, and a collector that takes what it tells. */
const chair = readFileSync(join(demoDirectory, 'images', 'blendswap-cc-0-1.webp'))
const withinMs = 60_000
let directory: string
let collector: OtlpReceiver
let server: ServerProcess
let client: FreshetClient

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-traces-'))
  collector = await OtlpReceiver.start()
  const env = { ...collector.environment, FRESHET_LOG_LEVEL: 'warn', FRESHET_PROCESSES: '1' }
  server = await startServerProcess({ dataDir: join(directory, 'data'), env, readyWithinMs: 120_000 })
  client = new FreshetClient({ baseUrl: server.url })
})

afterEach(async () => {
  await server?.stop()
  await collector?.stop()
  rmSync(directory, { recursive: true, force: true })
})

test('a publish and a search are a trace each, down to the steps of the model', async () => {
  const { blob } = await client.putBlob(chair)
  await client.publishAndWait({ itemId: 'chair', title: 'Chair', images: [blob] }, { timeoutMs: 60_000 })
  const found = await client.searchImage(chair, { k: 5 })
  expect(found.results.map(({ itemId }) => itemId)).toEqual(['chair'])

  const begun = (name: string) => collector.spans.find(span => span.name === name)
  await expect.poll(() => begun('PUT /v1/items/:id') && begun('POST /v1/search'), { timeout: withinMs }).toBeDefined()
  const isApplied = () =>
    collector.spans.some(({ attributes }) => attributes['freshet.mutation'] === 'ObjectsPut') && begun('process work')
  await expect.poll(isApplied, { timeout: withinMs }).toBeTruthy()

  const put = begun('PUT /v1/items/:id')!
  const published = collector.ofTrace(put.traceId)
  const accepted = childOf(published, put, 'send freshet.catalog')
  const worked = childOf(published, childOf(published, accepted, 'process freshet.catalog'), 'process work')
  const model = childOf(published, worked, 'model')
  for (const step of ['decode', 'detect', 'crop', 'embed']) {
    const [span] = childrenOf(published, model, step)
    expect(span, step).toBeDefined()
    expect(span!.endMs).toBeGreaterThanOrEqual(span!.startMs)
  }
  const written = childOf(published, worked, 'send freshet.mutations.g1')
  expect(childOf(published, written, 'process freshet.mutations.g1').attributes).toMatchObject({
    'freshet.item.id': 'chair',
    'messaging.system': 'lmdb',
  })

  const search = begun('POST /v1/search')!
  const searched = collector.ofTrace(search.traceId)
  const analysis = childOf(searched, search, 'analyse')
  for (const step of ['decode', 'detect', 'embed']) expect(childrenOf(searched, analysis, step), step).toHaveLength(1)
  expect(childOf(searched, search, 'search shard').attributes).toMatchObject({ 'freshet.shard': 0 })

  const page = parsePrometheusPage(await (await fetch(`${server.url}/metrics`)).text())
  const missing = [
    'freshet_index_age_seconds',
    'freshet_dispatch_lag_events',
    'freshet_work_since_start',
    'freshet_refused_records',
    'freshet_replica_search_duration_seconds',
    'freshet_replica_apply_duration_seconds',
    'freshet_work_stage_duration_seconds',
    'freshet_search_stage_duration_seconds',
  ].filter(name => !page.has(name))
  expect(missing).toEqual([])
  for (const { service } of collector.spans) expect(service).toBe('freshet-serve')
})
