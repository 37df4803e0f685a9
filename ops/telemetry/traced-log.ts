import type { Counter, Histogram, Meter, Span } from '@opentelemetry/api'
import { asFreshetError } from '../../schemas/errors.ts'
import { isSampled, traceHeadersOf } from '../../schemas/trace-context.ts'
import { startSendSpan } from '../../schemas/trace-messaging.ts'
import { failSpan } from '../../schemas/trace-span.ts'
import type { AppendedRecord, EventLog, NewRecord } from '../../topologies/event-log.ts'

const durationSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * Makes a log tell what is appended to it: durations and counts by topic, and a span for each record that is part of a
 * sampled trace, which whoever reads the record goes on from. It is the same log.
 */
export function traceLog<Log extends EventLog>(log: Log, meter: Meter): Log {
  const appends = new AppendMeter(log.system ?? 'kafka', meter)
  const append = log.append.bind(log)
  const traced: Pick<EventLog, 'append'> = {
    append: (topic, records) => appends.of(topic, records, append),
  }
  return Object.assign(log, traced)
}

class AppendMeter {
  readonly #system: string
  readonly #duration: Histogram
  readonly #sent: Counter

  constructor(system: string, meter: Meter) {
    this.#system = system
    this.#duration = meter.createHistogram('messaging.client.operation.duration', {
      unit: 's',
      description: 'Time until appended records were durable, by topic; with error.type for those that failed',
      advice: { explicitBucketBoundaries: durationSeconds },
    })
    this.#sent = meter.createCounter('messaging.client.sent.messages', { description: 'Records appended, by topic' })
  }

  async of(
    topic: string,
    records: readonly NewRecord[],
    append: EventLog['append'],
  ): Promise<readonly AppendedRecord[]> {
    const labels = {
      'messaging.system': this.#system,
      'messaging.operation.name': 'send',
      'messaging.destination.name': topic,
    }
    const spans = new Map<number, Span>()
    const beganAtMs = performance.now()
    try {
      const appended = await append(topic, this.#traced(topic, records, spans))
      for (const [at, span] of spans) span.setAttribute('messaging.kafka.offset', appended[at]!.offset)
      this.#sent.add(records.length, labels)
      this.#duration.record((performance.now() - beganAtMs) / 1000, labels)
      return appended
    } catch (thrown) {
      for (const span of spans.values()) failSpan(span, thrown)
      const { code } = asFreshetError(thrown)
      this.#duration.record((performance.now() - beganAtMs) / 1000, { ...labels, 'error.type': code })
      throw thrown
    } finally {
      for (const span of spans.values()) span.end()
    }
  }

  /** The records as they are while none of them is traced. */
  #traced(topic: string, records: readonly NewRecord[], spans: Map<number, Span>): readonly NewRecord[] {
    if (!records.some(({ headers }) => headers !== undefined && isSampled(headers))) return records
    return records.map((record, at) => {
      const { headers = {}, partition } = record
      if (!isSampled(headers)) return record
      const span = startSendSpan({ topic, partition, headers }, { 'messaging.system': this.#system })
      spans.set(at, span)
      return { ...record, headers: { ...headers, ...traceHeadersOf(span) } }
    })
  }
}
