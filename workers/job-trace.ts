import { context, type Span, SpanKind, trace } from '@opentelemetry/api'
import type { EmbedJob } from '../schemas/embed-job.ts'
import type { FreshetError } from '../schemas/errors.ts'
import { contextOf, isSampled, type TraceHeaders, traceHeadersOf, traceOf } from '../schemas/trace-context.ts'
import { failSpan, tracer } from '../schemas/trace-span.ts'
import type { ClaimedJob } from '../topologies/work-queue.ts'

/** Spans of jobs in hand, of those whose event is traced: from the claim until the result is durable or the job is back. */
export class JobTrace {
  readonly #spans = new Map<ClaimedJob, Span>()
  readonly #system: string

  /** `system`: what traces call the queue. */
  constructor(system: string) {
    this.#system = system
  }

  /** Does the job's work as a part of its event's trace. */
  run<T>(claimed: ClaimedJob, job: EmbedJob, work: () => Promise<T>): Promise<T> {
    if (!isSampled(job)) return work()
    const parent = contextOf(job)
    const attributes = {
      'messaging.system': this.#system,
      'messaging.operation.type': 'process',
      'messaging.operation.name': 'process',
      'messaging.destination.name': 'work',
      'messaging.message.id': claimed.id,
      'freshet.job.attempt': claimed.attempt,
      'freshet.job.priority': claimed.priority,
      'freshet.item.id': job.itemId,
      'freshet.generation': job.generation,
      'messaging.destination.partition.id': String(job.partition),
      'freshet.catalog.offset': job.version.offset,
    }
    const span = tracer.startSpan('process work', { kind: SpanKind.CONSUMER, attributes }, parent)
    this.#spans.set(claimed, span)
    return context.with(trace.setSpan(parent, span), work)
  }

  failed(claimed: ClaimedJob, failure: FreshetError): void {
    const span = this.#spans.get(claimed)
    if (span !== undefined) failSpan(span, failure)
  }

  /** For what the job writes: its own span, or the trace of its event where that is not sampled. */
  headersOf(claimed: ClaimedJob, job: EmbedJob): TraceHeaders {
    const span = this.#spans.get(claimed)
    return span === undefined ? traceOf(job) : traceHeadersOf(span)
  }

  end(claimed: ClaimedJob): void {
    this.#spans.get(claimed)?.end()
    this.#spans.delete(claimed)
  }
}
