import { context, trace } from '@opentelemetry/api'
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition } from '../../schemas/ids.ts'
import type { EventLog, NewRecord } from '../../topologies/event-log.ts'
import { openTelemetry, type Telemetry } from './telemetry.ts'
import { parsePrometheusPage, sampleOf } from './testing/prometheus-page.ts'
import { traceLog } from './traced-log.ts'

const sampled = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const unsampled = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'
const exporter = new InMemorySpanExporter()
let telemetry: Telemetry

beforeAll(async () => {
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
  telemetry = await openTelemetry({ role: 'test', environment: {}, log: pino({ level: 'silent' }) })
})

beforeEach(() => exporter.reset())

afterAll(async () => {
  trace.disable()
  context.disable()
  await telemetry.close()
})

/** The edge of a log: keeps what it is given, or fails. */
function logThat(outcome: 'takes' | 'fails') {
  const taken: NewRecord[] = []
  const log = {
    system: 'test',
    append: async (_topic: string, records: readonly NewRecord[]) => {
      if (outcome === 'fails') throw new FreshetError('storage-full', 'no space')
      taken.push(...records)
      return records.map(({ partition }, i) => ({ partition, offset: asOffset(100 + i), appendTimeMs: 1 }))
    },
  } as unknown as EventLog
  return { log: traceLog(log, telemetry.meter), taken }
}

const record = (headers?: Record<string, string>): NewRecord => ({
  partition: asPartition(3),
  key: Buffer.from('key'),
  value: null,
  ...(headers === undefined ? {} : { headers }),
})

const finished = (): readonly ReadableSpan[] => exporter.getFinishedSpans()

describe('a traced log', () => {
  test('sends a sampled record on with a span of its own, and others as they are', async () => {
    const { log, taken } = logThat('takes')
    const records = [record(), record({ traceparent: sampled, other: 'kept' }), record({ traceparent: unsampled })]
    const appended = await log.append('topic', records)
    expect(appended.map(({ offset }) => offset)).toEqual([100, 101, 102])
    expect(taken[0]).toBe(records[0])
    expect(taken[2]).toBe(records[2])
    const [span] = finished()
    expect(finished()).toHaveLength(1)
    expect(span).toMatchObject({ name: 'send topic', parentSpanContext: { spanId: 'b7ad6b7169203331' } })
    expect(span!.attributes).toMatchObject({
      'messaging.system': 'test',
      'messaging.destination.name': 'topic',
      'messaging.destination.partition.id': '3',
      'messaging.kafka.offset': 101,
    })
    const { traceId, spanId } = span!.spanContext()
    expect(taken[1]!.headers).toEqual({ traceparent: `00-${traceId}-${spanId}-01`, other: 'kept' })
    expect(records[1]!.headers).toEqual({ traceparent: sampled, other: 'kept' })
  })

  test('tells a failure as it is, notes its code, and counts by topic', async () => {
    const failing = logThat('fails')
    const append = failing.log.append('full', [record({ traceparent: sampled })])
    await expect(append).rejects.toMatchObject({ code: 'storage-full' })
    expect(finished()[0]).toMatchObject({ attributes: { 'error.type': 'storage-full' }, status: { code: 2 } })
    await logThat('takes').log.append('counted', [record(), record()])
    const page = parsePrometheusPage(await telemetry.metricsText())
    const of = (topic: string) => ({ messaging_destination_name: topic, messaging_system: 'test' })
    expect(sampleOf(page, 'messaging_client_sent_messages_total', of('counted'))).toBe(2)
    const duration = 'messaging_client_operation_duration_seconds_count'
    expect(sampleOf(page, duration, of('counted'))).toBe(1)
    expect(sampleOf(page, duration, { ...of('full'), error_type: 'storage-full' })).toBe(1)
  })
})
