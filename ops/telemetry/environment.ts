/** The process's environment variables, passed in. */
export type Environment = Readonly<Record<string, string | undefined>>

/** What OpenTelemetry's standard variables ask for. */
export interface TelemetryWishes {
  /** Spans are made and exported. */
  readonly traces: boolean
  /** The metrics of `/metrics` are sent to a collector too. */
  readonly metricsExport: boolean
  /** Time between two such exports. */
  readonly metricsEveryMs: number
  readonly metricsProtocol: OtlpProtocol
}

export const otlpProtocols = ['grpc', 'http/protobuf', 'http/json'] as const
export type OtlpProtocol = (typeof otlpProtocols)[number]

/**
 * Traces are exported when OTEL_TRACES_EXPORTER names an exporter, or, where it is not set, when an OTLP endpoint is.
 * Metrics are sent when OTEL_METRICS_EXPORTER has `otlp`. OTEL_SDK_DISABLED=true ends both.
 */
export function wishesOf(environment: Environment): TelemetryWishes {
  const given = (name: string): string => environment[name]?.trim() ?? ''
  const isDisabled = given('OTEL_SDK_DISABLED').toLowerCase() === 'true'
  const traceExporters = listOf(given('OTEL_TRACES_EXPORTER'))
  const hasEndpoint = given('OTEL_EXPORTER_OTLP_ENDPOINT') !== '' || given('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') !== ''
  const asksForTraces = traceExporters.length === 0 ? hasEndpoint : !traceExporters.includes('none')
  return {
    traces: !isDisabled && asksForTraces,
    metricsExport: !isDisabled && listOf(given('OTEL_METRICS_EXPORTER')).includes('otlp'),
    metricsEveryMs: positive(given('OTEL_METRIC_EXPORT_INTERVAL')) ?? 60_000,
    metricsProtocol: protocolOf(
      given('OTEL_EXPORTER_OTLP_METRICS_PROTOCOL') || given('OTEL_EXPORTER_OTLP_PROTOCOL') || 'http/protobuf',
    ),
  }
}

function listOf(text: string): readonly string[] {
  return text.split(',').flatMap(each => (each.trim() === '' ? [] : [each.trim()]))
}

function positive(text: string): number | undefined {
  const value = Number(text)
  return text !== '' && Number.isFinite(value) && value > 0 ? value : undefined
}

/** An unknown one is the default, as the specification asks for. */
function protocolOf(text: string): OtlpProtocol {
  return otlpProtocols.find(protocol => protocol === text) ?? 'http/protobuf'
}
