import type { Resource } from '@opentelemetry/resources'
import { NodeSDK } from '@opentelemetry/sdk-node'

/**
 * From now on the spans of this process are made and exported; which, where and how say the OTEL_* variables. Loaded
 * only when they ask for it: the packages behind it are large.
 */
export function startTracing(resource: Resource): { shutdown(): Promise<void> } {
  const sdk = new NodeSDK({
    resource,
    autoDetectResources: false,
    instrumentations: [],
    // Metrics and logs go their own ways.
    metricReaders: [],
    logRecordProcessors: [],
  })
  sdk.start()
  return sdk
}
