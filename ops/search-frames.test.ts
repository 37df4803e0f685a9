import { type Context, context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { RemoteReplica } from '../query-gateway/remote/remote-replica.ts'
import type { Fingerprint, Generation } from '../schemas/ids.ts'
import { tracer } from '../schemas/trace-span.ts'
import { createShardServer } from '../shard-node/http/shard-server.ts'
import { generation, ShardOnLog } from '../shard-node/testing/shard-on-log.ts'
import { openTelemetry, type Telemetry } from './telemetry/telemetry.ts'
import { parsePrometheusPage, sampleOf } from './telemetry/testing/prometheus-page.ts'

const vector = Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0)
const request = { generation, fingerprint: 'f'.repeat(64) as Fingerprint, vector, k: 3 }
const exporter = new InMemorySpanExporter()
let active: Context = ROOT_CONTEXT
let telemetry: Telemetry
let shard: ShardOnLog
let replica: RemoteReplica
let close: () => Promise<void>

beforeAll(async () => {
  context.setGlobalContextManager({
    active: () => active,
    with: (inner, work, own, ...args) => {
      const outer = active
      active = inner
      try {
        return work.call(own as never, ...args)
      } finally {
        active = outer
      }
    },
    bind: (_, target) => target,
    enable() {
      return this
    },
    disable() {
      return this
    },
  })
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
  telemetry = await openTelemetry({ role: 'test', environment: {}, log: pino({ level: 'silent' }) })
  shard = await ShardOnLog.create(vector.length)
  const node = await shard.open()
  const { meter } = telemetry
  const app = createShardServer({ replicas: () => [node], failure: () => null, secret: null, meter })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const reported = { state: 'ready', indexAgeMs: 0 } as const
  const { shard: number, replica: name, partitions } = node
  replica = new RemoteReplica({ address, shard: number, replica: name, generation, partitions, reported })
  close = async () => {
    await replica.close()
    await app.close()
  }
})
beforeEach(() => exporter.reset())
afterAll(async () => {
  await close()
  await shard.dispose()
  trace.disable()
  context.disable()
  await telemetry.close()
})

async function within(work: () => Promise<unknown>): Promise<void> {
  const caller = tracer.startSpan('caller')
  await context.with(trace.setSpan(ROOT_CONTEXT, caller), work)
  caller.end()
}

test('a search over frames is one trace from the gateway into the shard', async () => {
  await within(() => replica.search(request))
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(3)
  const spanOf = (kind: string) => exporter.getFinishedSpans().find(({ name }) => name.startsWith(kind))!
  const [caller, call, served] = [spanOf('caller'), spanOf('SEARCH shard'), spanOf('SEARCH /shard/v1/searches')]
  expect(call.parentSpanContext?.spanId).toBe(caller.spanContext().spanId)
  expect(served.parentSpanContext?.spanId).toBe(call.spanContext().spanId)
  expect(served.spanContext().traceId).toBe(caller.spanContext().traceId)
  const answered = { 'http.response.status_code': 200, 'url.path': '/shard/v1/searches' }
  expect(call.attributes).toMatchObject({ ...answered, 'server.address': '127.0.0.1' })
  expect(served.attributes).toMatchObject({ ...answered, 'freshet.replica': replica.replica })
})

test('what fails is told by both, and is a failure of the shard only where it is', async () => {
  const other = { ...request, generation: 'g2' as Generation }
  await within(() => replica.search(other).catch(() => undefined))
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(3)
  const [served, call] = exporter.getFinishedSpans()
  expect(served).toMatchObject({ status: { code: 0 }, attributes: { 'error.type': 'bad-request' } })
  expect(call).toMatchObject({ status: { code: 2 }, attributes: { 'error.type': 'bad-request' } })
})

test('without a trace there are no spans; requests are measured', async () => {
  await replica.search(request)
  expect(exporter.getFinishedSpans()).toEqual([])
  const page = parsePrometheusPage(await telemetry.metricsText())
  const labels = { http_route: '/shard/v1/:replica/search', http_response_status_code: '200', url_scheme: 'ws' }
  expect(sampleOf(page, 'http_server_request_duration_seconds_count', labels)).toBeGreaterThan(0)
})
