import type { Span } from '@opentelemetry/api'
import type { Generation } from '../../schemas/ids.ts'
import { isSampled, traceHeadersOf } from '../../schemas/trace-context.ts'
import { startProcessSpan } from '../../schemas/trace-messaging.ts'
import type { CatalogRecord } from './dispatch-state.ts'
import { dispatchGroup } from './group.ts'

export interface TracedRecords {
  /** What the step makes of a record goes on from the record's span. */
  readonly records: readonly CatalogRecord[]
  end(): void
}

const untraced = (records: readonly CatalogRecord[]): TracedRecords => ({ records, end: () => undefined })

/** Begins a span of each record whose publisher is traced. The others are handed on as they are, at no cost. */
export function traceRecords(
  records: readonly CatalogRecord[],
  { generation, system }: { readonly generation: Generation; readonly system: string },
): TracedRecords {
  if (!records.some(({ record }) => isSampled(record.headers))) return untraced(records)
  const attributes = {
    'messaging.system': system,
    'messaging.consumer.group.name': dispatchGroup(generation),
    'freshet.generation': generation,
  }
  const spans: Span[] = []
  const traced = records.map(one => {
    const { record, content } = one
    if (!isSampled(record.headers)) return one
    const span = startProcessSpan(record, attributes)
    if (content.kind === 'undecodable') span.setAttribute('error.type', content.code)
    else if (record.key !== null) span.setAttribute('freshet.item.id', Buffer.from(record.key).toString('utf8', 0, 512))
    spans.push(span)
    return { ...one, record: { ...record, headers: { ...record.headers, ...traceHeadersOf(span) } } }
  })
  return {
    records: traced,
    end: () => {
      for (const span of spans) span.end()
    },
  }
}
