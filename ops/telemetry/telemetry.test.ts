import { pino } from 'pino'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { observeGauges } from '../../query-gateway/observed-gauges.ts'
import { wishesOf } from './environment.ts'
import { prometheusName } from './metrics-page.ts'
import { openTelemetry, type Telemetry } from './telemetry.ts'
import { OtlpReceiver } from './testing/otlp-receiver.ts'
import { parsePrometheusPage, sampleOf } from './testing/prometheus-page.ts'

const opened: Telemetry[] = []

afterEach(async () => {
  for (const telemetry of opened.splice(0)) await telemetry.close()
  vi.unstubAllEnvs()
})

async function open(lines: string[] = [], environment: Record<string, string> = {}): Promise<Telemetry> {
  const log = pino({ base: null }, { write: (line: string) => lines.push(line) })
  const telemetry = await openTelemetry({ role: 'test', environment, log })
  opened.push(telemetry)
  return telemetry
}

const pageOf = async (telemetry: Telemetry) => parsePrometheusPage(await telemetry.metricsText())

describe('the page of metrics', () => {
  test('tells what was measured, with help, type and the unit in the name', async () => {
    const telemetry = await open()
    const { meter } = telemetry
    meter.createCounter('freshet.test.events', { description: 'Events' }).add(3, { of: 'a "b"\n\\' })
    const times = meter.createHistogram('freshet.test.duration', {
      unit: 's',
      description: 'Durations',
      advice: { explicitBucketBoundaries: [0.1, 1] },
    })
    for (const seconds of [0.05, 0.5, 5]) times.record(seconds)
    const page = await pageOf(telemetry)
    expect(page.get('freshet_test_events_total')).toEqual({
      type: 'counter',
      help: 'Events',
      samples: [{ name: 'freshet_test_events_total', labels: { of: 'a \\"b\\"\\n\\\\' }, value: 3 }],
    })
    expect(sampleOf(page, 'freshet_test_duration_seconds_bucket', { le: '1' })).toBe(2)
    expect(sampleOf(page, 'freshet_test_duration_seconds_count')).toBe(3)
  })

  test('tells of the process', async () => {
    const page = await pageOf(await open())
    expect(sampleOf(page, 'process_cpu_time_seconds_total', { cpu_mode: 'user' })).toBeGreaterThan(0)
    expect(sampleOf(page, 'process_memory_usage_bytes')).toBeGreaterThan(1_000_000)
    expect(sampleOf(page, 'process_uptime_seconds')).toBeGreaterThan(0)
    expect(sampleOf(page, 'target_info', { service_name: 'freshet-test' })).toBe(1)
  })

  test('forgets a replica that is gone', async () => {
    const telemetry = await open()
    let replicas = ['a', 'b']
    const gauge = {
      name: 'freshet.test.replicas',
      description: 'Replicas',
      read: (known: readonly string[]) => known.map(replica => [1, { replica }] as const),
    }
    observeGauges(telemetry.meter, [gauge], () => replicas)
    expect((await pageOf(telemetry)).get('freshet_test_replicas')!.samples).toHaveLength(2)
    replicas = ['b']
    const { samples } = (await pageOf(telemetry)).get('freshet_test_replicas')!
    expect(samples.map(({ labels }) => labels.replica)).toEqual(['b'])
    replicas = []
    expect((await pageOf(telemetry)).has('freshet_test_replicas')).toBe(false)
  })

  test('tells the rest when something cannot be collected, and logs that', async () => {
    const lines: string[] = []
    const telemetry = await open(lines)
    const { meter } = telemetry
    const failing = { name: 'freshet.test.failing', description: 'Fails', read: () => [[1, {}]] as const }
    observeGauges(meter, [failing], () => Promise.reject(new Error('no answer')))
    meter.createCounter('freshet.test.counted', { description: 'Counted' }).add(1)
    const page = await pageOf(telemetry)
    expect(page.has('freshet_test_counted_total')).toBe(true)
    expect(page.has('freshet_test_failing')).toBe(false)
    expect(lines.join('')).toContain('no answer')
  })

  test('names have their unit once, at the end', () => {
    expect(prometheusName('http.server.request.duration', 's', false)).toBe('http_server_request_duration_seconds')
    expect(prometheusName('freshet.age_seconds', 's', true)).toBe('freshet_age_seconds')
    expect(prometheusName('process.memory.usage', 'By', true)).toBe('process_memory_usage_bytes')
    expect(prometheusName('freshet.items', '', true)).toBe('freshet_items')
    expect(prometheusName('freshet.jobs', '{job}', false)).toBe('freshet_jobs')
  })
})

describe('a collector', () => {
  const environment = { OTEL_METRICS_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }

  test('gets the same metrics, at the latest when the process ends', async () => {
    const collector = await OtlpReceiver.start()
    // Where to, the exporter reads by itself.
    vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', collector.url)
    const telemetry = await open([], environment)
    telemetry.meter.createCounter('freshet.test.counted', { description: 'Counted' }).add(1)
    await telemetry.close()
    opened.splice(0)
    expect([...collector.metrics.get('freshet-test')!]).toEqual(
      expect.arrayContaining(['freshet.test.counted', 'process.cpu.time']),
    )
    await collector.stop()
  })

  test('that does not answer holds up neither the page nor the end of the process', async () => {
    vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', 'http://127.0.0.1:1')
    const telemetry = await open([], { ...environment, OTEL_METRIC_EXPORT_INTERVAL: '1' })
    expect((await pageOf(telemetry)).has('process_uptime_seconds')).toBe(true)
    await telemetry.close()
    opened.splice(0)
  })
})

describe('what the environment asks for', () => {
  test.each<[Record<string, string>, { readonly traces: boolean; readonly metricsExport: boolean }]>([
    [{}, { traces: false, metricsExport: false }],
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, { traces: true, metricsExport: false }],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector' }, { traces: true, metricsExport: false }],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector' }, { traces: true, metricsExport: false }],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c', OTEL_TRACES_EXPORTER: 'none' },
      { traces: false, metricsExport: false },
    ],
    [{ OTEL_METRICS_EXPORTER: 'otlp' }, { traces: false, metricsExport: true }],
    [
      { OTEL_METRICS_EXPORTER: 'none', OTEL_TRACES_EXPORTER: ' ' },
      { traces: false, metricsExport: false },
    ],
    [
      { OTEL_SDK_DISABLED: 'true', OTEL_TRACES_EXPORTER: 'otlp', OTEL_METRICS_EXPORTER: 'otlp' },
      { traces: false, metricsExport: false },
    ],
  ])('%j', (environment, wishes) => {
    expect(wishesOf(environment)).toMatchObject(wishes)
  })

  test('protocol and interval, with defaults for what is none', () => {
    expect(wishesOf({})).toMatchObject({ metricsEveryMs: 60_000, metricsProtocol: 'http/protobuf' })
    expect(wishesOf({ OTEL_METRIC_EXPORT_INTERVAL: '500', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' })).toMatchObject({
      metricsEveryMs: 500,
      metricsProtocol: 'http/json',
    })
    expect(
      wishesOf({
        OTEL_METRIC_EXPORT_INTERVAL: 'soon',
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'grpc',
      }),
    ).toMatchObject({ metricsEveryMs: 60_000, metricsProtocol: 'grpc' })
  })
})
