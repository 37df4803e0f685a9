import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type DiagLogger, DiagLogLevel, diag, type Meter } from '@opentelemetry/api'
import { MeterProvider, type ResourceMetrics } from '@opentelemetry/sdk-metrics'
import type { Logger } from 'pino'
import { type Environment, wishesOf } from './environment.ts'
import { PageReader, pageOf } from './metrics-page.ts'
import { MetricsPush } from './otlp-metrics.ts'
import { observeProcess } from './process-metrics.ts'
import { resourceOf } from './resource.ts'

/** What a process tells of itself to those who watch it. */
export interface Telemetry {
  /** Everything that is measured goes here. */
  readonly meter: Meter
  /** All of it in Prometheus' text format; what `/metrics` answers. */
  metricsText(): Promise<string>
  /** Sends what is not sent yet, for a moment at most. Never fails. Call it last. */
  close(): Promise<void>
}

export interface TelemetryOptions {
  /** Of the process, such as `serve`: without OTEL_SERVICE_NAME the service is `freshet-<role>`. */
  readonly role: string
  readonly environment: Environment
  readonly log: Logger
}

/** Parts that hang are left out of what is collected. */
const collectWithinMs = 8_000
const closeWithinMs = 1_500

/** Metrics always; traces, and metrics to a collector, when OTEL_* variables ask for them (`wishesOf`). */
export async function openTelemetry({ role, environment, log }: TelemetryOptions): Promise<Telemetry> {
  const wishes = wishesOf(environment)
  diag.setLogger(diagnosticsTo(log), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true })
  const resource = resourceOf(role, randomUUID())
  const reader = new PageReader()
  const provider = new MeterProvider({ resource, readers: [reader] })
  const meter = provider.getMeter('freshet')
  const stopProcess = observeProcess(meter)
  const collect = async (): Promise<ResourceMetrics> => {
    const { resourceMetrics, errors } = await reader.collect({ timeoutMillis: collectWithinMs })
    for (const err of errors) log.warn({ err }, 'some metrics could not be collected')
    return resourceMetrics
  }
  const push = wishes.metricsExport
    ? await MetricsPush.open({
        protocol: wishes.metricsProtocol,
        everyMs: wishes.metricsEveryMs,
        collect,
        onFailure: reason => log.warn({ reason }, 'metrics could not be exported'),
      })
    : null
  const tracing = wishes.traces ? (await import('./tracing.ts')).startTracing(resource) : null
  return {
    meter,
    metricsText: async () => pageOf({ resourceMetrics: await collect() }),
    close: async () => {
      stopProcess()
      const ended = Promise.allSettled([push?.close(), tracing?.shutdown()])
      await Promise.race([ended, pause(closeWithinMs, undefined, { ref: false })])
      await provider.shutdown().catch(() => undefined)
    },
  }
}

const repeatAfterMs = 60_000

/** What OpenTelemetry says of itself, such as that a collector does not answer: the same not more than once a minute. */
function diagnosticsTo(log: Logger): DiagLogger {
  const toldAtMs = new Map<string, number>()
  const tell =
    (level: 'warn' | 'error') =>
    (message: string, ...details: readonly unknown[]): void => {
      const now = performance.now()
      if (now - (toldAtMs.get(message) ?? Number.NEGATIVE_INFINITY) < repeatAfterMs) return
      if (toldAtMs.size > 100) toldAtMs.clear()
      toldAtMs.set(message, now)
      log[level]({ reason: message, details: details.map(String) }, 'telemetry has trouble')
    }
  const silent = (): void => undefined
  return { error: tell('error'), warn: tell('warn'), info: silent, debug: silent, verbose: silent }
}
