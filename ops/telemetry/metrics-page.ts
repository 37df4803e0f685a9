import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  InstrumentType,
  type MetricData,
  MetricReader,
  type ResourceMetrics,
} from '@opentelemetry/sdk-metrics'

/** More series of one metric than this are summed up in one; partitions times generations is what there can be many of. */
const maxSeriesPerMetric = 10_000

/** Reads a provider's metrics when asked to: for the page that Prometheus fetches, and for what is sent to a collector. */
export class PageReader extends MetricReader {
  constructor() {
    super({
      // A gauge tells what was observed just now. Cumulative, it would tell for ever of a replica that is gone.
      aggregationTemporalitySelector: type =>
        type === InstrumentType.OBSERVABLE_GAUGE ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE,
      cardinalitySelector: () => maxSeriesPerMetric,
    })
  }

  protected override async onForceFlush(): Promise<void> {}

  protected override async onShutdown(): Promise<void> {}
}

/** Names are told without the scopes of OpenTelemetry, so that ours have the labels that are documented and no others. */
const serializer = new PrometheusSerializer(undefined, false, undefined, false, true)

/** What was collected, in Prometheus' text format 0.0.4. */
export function pageOf({ resourceMetrics }: Pick<CollectionResult, 'resourceMetrics'>): string {
  return serializer.serialize(named(resourceMetrics))
}

/** The serializer leaves units to us: a name has the unit at its end, as OpenTelemetry's rules for Prometheus say. */
function named({ resource, scopeMetrics }: ResourceMetrics): ResourceMetrics {
  return {
    resource,
    scopeMetrics: scopeMetrics.map(({ scope, metrics }) => ({ scope, metrics: metrics.map(withUnitInName) })),
  }
}

function withUnitInName(metric: MetricData): MetricData {
  const { descriptor } = metric
  const name = prometheusName(descriptor.name, descriptor.unit, metric.dataPointType === DataPointType.GAUGE)
  return { ...metric, descriptor: { ...descriptor, name, unit: '' } }
}

const unitWords: Readonly<Record<string, string>> = { s: 'seconds', ms: 'milliseconds', By: 'bytes' }

/** Without `_total`, which the serializer adds to counters. */
export function prometheusName(name: string, unit: string, isGauge: boolean): string {
  const word = unit === '1' && isGauge ? 'ratio' : unitWords[unit]
  const plain = name.replaceAll('.', '_')
  return word === undefined || plain.endsWith(`_${word}`) ? plain : `${plain}_${word}`
}
