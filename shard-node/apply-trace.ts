import type { Span } from '@opentelemetry/api'
import type { FreshetError } from '../schemas/errors.ts'
import type { Mutation } from '../schemas/mutation.ts'
import { isSampled } from '../schemas/trace-context.ts'
import { startProcessSpan } from '../schemas/trace-messaging.ts'
import { failSpan } from '../schemas/trace-span.ts'
import type { LogRecord } from '../topologies/event-log.ts'

/**
 * Spans of the mutations that a replica applies, of those whose event is traced: from reading the record until searches
 * see it and whoever waits for it was told.
 */
export class ApplyTrace {
  readonly #attributes: Readonly<Record<string, string | number>>
  readonly #open: Span[] = []

  constructor(of: {
    readonly system: string
    readonly generation: string
    readonly shard: number
    readonly replica: string
  }) {
    this.#attributes = {
      'messaging.system': of.system,
      'freshet.generation': of.generation,
      'freshet.shard': of.shard,
      'freshet.replica': of.replica,
    }
  }

  /** Undefined, at no cost, for a record that is of no trace. */
  begin(record: LogRecord): Span | undefined {
    if (!isSampled(record.headers)) return undefined
    const span = startProcessSpan(record, this.#attributes)
    this.#open.push(span)
    return span
  }

  /** Everything begun is searched now, or refused. */
  end(): void {
    if (this.#open.length === 0) return
    for (const span of this.#open) span.end()
    this.#open.length = 0
  }
}

export function describeMutation(span: Span | undefined, mutation: Mutation): void {
  if (span === undefined || mutation.type === 'Watermark') return
  span.setAttributes({ 'freshet.mutation': mutation.type, 'freshet.item.id': mutation.itemId })
}

export function refuseSpan(span: Span | undefined, error: FreshetError): void {
  if (span !== undefined) failSpan(span, error)
}
