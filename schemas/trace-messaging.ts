import { type Attributes, type Span, SpanKind } from '@opentelemetry/api'
import type { Offset, Partition } from './ids.ts'
import { contextOf, type TraceHeaders } from './trace-context.ts'
import { tracer } from './trace-span.ts'

/** A record of a log that is being processed. */
export interface ProcessedRecord {
  readonly topic: string
  readonly partition: Partition
  readonly offset: Offset
  readonly headers: TraceHeaders
}

/** The span of processing one record, a part of its publisher's trace. Only for records that are sampled. */
export function startProcessSpan({ topic, partition, offset, headers }: ProcessedRecord, attributes: Attributes): Span {
  return tracer.startSpan(
    `process ${topic}`,
    {
      kind: SpanKind.CONSUMER,
      attributes: {
        'messaging.operation.type': 'process',
        'messaging.operation.name': 'process',
        'messaging.destination.name': topic,
        'messaging.destination.partition.id': String(partition),
        'messaging.kafka.offset': offset,
        ...attributes,
      },
    },
    contextOf(headers),
  )
}

/** The span of writing one record, a part of the trace that its headers name. */
export function startSendSpan(
  { topic, partition, headers }: Omit<ProcessedRecord, 'offset'>,
  attributes: Attributes,
): Span {
  return tracer.startSpan(
    `send ${topic}`,
    {
      kind: SpanKind.PRODUCER,
      attributes: {
        'messaging.operation.type': 'send',
        'messaging.operation.name': 'send',
        'messaging.destination.name': topic,
        'messaging.destination.partition.id': String(partition),
        ...attributes,
      },
    },
    contextOf(headers),
  )
}
