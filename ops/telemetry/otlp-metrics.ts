import type { PushMetricExporter, ResourceMetrics } from '@opentelemetry/sdk-metrics'
import type { OtlpProtocol } from './environment.ts'

export interface MetricsPushOptions {
  readonly protocol: OtlpProtocol
  readonly everyMs: number
  /** @throws what collecting throws */
  readonly collect: () => Promise<ResourceMetrics>
  /** Called each time when metrics could not be sent. */
  readonly onFailure: (reason: string) => void
}

/** ExportResultCode.SUCCESS, of a package that is not ours to import. */
const success = 0

/** Sends metrics to a collector again and again, one export at a time; where and how say the OTEL_EXPORTER_OTLP_* variables. */
export class MetricsPush {
  readonly #options: MetricsPushOptions
  readonly #exporter: PushMetricExporter
  readonly #timer: NodeJS.Timeout
  #sending: Promise<void> | null = null

  private constructor(exporter: PushMetricExporter, options: MetricsPushOptions) {
    this.#exporter = exporter
    this.#options = options
    this.#timer = setInterval(() => void this.#send(), options.everyMs).unref()
  }

  static async open(options: MetricsPushOptions): Promise<MetricsPush> {
    return new MetricsPush(await exporterOf(options.protocol), options)
  }

  /** Sends what there is a last time. Never fails. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#sending
    await this.#send()
    await this.#exporter.shutdown().catch(thrown => this.#options.onFailure(String(thrown)))
  }

  #send(): Promise<void> {
    this.#sending ??= this.#export().finally(() => {
      this.#sending = null
    })
    return this.#sending
  }

  async #export(): Promise<void> {
    try {
      const collected = await this.#options.collect()
      await new Promise<void>((resolve, reject) =>
        this.#exporter.export(collected, ({ code, error }) =>
          code === success ? resolve() : reject(error ?? new Error('the collector took none')),
        ),
      )
    } catch (thrown) {
      this.#options.onFailure(thrown instanceof Error ? thrown.message : String(thrown))
    }
  }
}

async function exporterOf(protocol: OtlpProtocol): Promise<PushMetricExporter> {
  switch (protocol) {
    case 'grpc':
      return new (await import('@opentelemetry/exporter-metrics-otlp-grpc')).OTLPMetricExporter()
    case 'http/json':
      return new (await import('@opentelemetry/exporter-metrics-otlp-http')).OTLPMetricExporter()
    case 'http/protobuf':
      return new (await import('@opentelemetry/exporter-metrics-otlp-proto')).OTLPMetricExporter()
  }
}
