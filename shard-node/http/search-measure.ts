import { context, createNoopMeter, type Histogram, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { type Ask, searchesPath } from '../../schemas/shard-frames.ts'
import { shardPrefix } from '../../schemas/shard-wire.ts'
import { contextOf, noTrace } from '../../schemas/trace-context.ts'
import { requestDuration } from '../../schemas/trace-requests.ts'
import { tracer } from '../../schemas/trace-span.ts'
import type { SearchAnswer } from './gateway-connection.ts'
import type { ShardServerParts } from './shard-server.ts'

const name = `SEARCH ${searchesPath}`

/** Searches over frames, with the durations of the requests that they would be otherwise, told apart by their scheme. */
export class SearchMeasure {
  readonly #duration: Histogram
  readonly #scheme: 'ws' | 'wss'

  constructor({ meter, tls }: Pick<ShardServerParts, 'meter' | 'tls'>) {
    this.#duration = requestDuration(meter ?? createNoopMeter())
    this.#scheme = tls === undefined ? 'ws' : 'wss'
  }

  /** Under a span of its own where the gateway's search is traced. */
  async measured(ask: Ask, work: () => Promise<SearchAnswer>): Promise<SearchAnswer> {
    const beganAt = performance.now()
    const answer = await (ask.trace === noTrace ? work() : this.#traced(ask, work))
    this.#duration.record((performance.now() - beganAt) / 1_000, {
      'http.request.method': 'POST',
      'http.route': `${shardPrefix}/:replica/search`,
      'http.response.status_code': answer.status,
      'url.scheme': this.#scheme,
    })
    return answer
  }

  async #traced({ trace: headers, replica }: Ask, work: () => Promise<SearchAnswer>): Promise<SearchAnswer> {
    const attributes = { 'url.path': searchesPath, 'url.scheme': this.#scheme, 'freshet.replica': replica }
    const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, contextOf(headers))
    const answer = await context.with(trace.setSpan(context.active(), span), work)
    const { status, error } = answer
    span.setAttribute('http.response.status_code', status)
    if (error !== undefined) {
      span.setAttribute('error.type', error.code)
      span.recordException({ name: error.code, message: error.message })
    }
    if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
    return answer
  }
}
