import { createNoopMeter } from '@opentelemetry/api'
import type { SearchAnswer, SearchRequest } from '../../schemas/http-search.ts'
import type { GatewayOptions } from '../gateway-options.ts'
import type { GatewayPorts } from '../ports.ts'
import { QueryRouter } from '../query-router.ts'
import { WeightsBook } from '../ranking/ranking-weights.ts'
import { ReplicaRoster } from '../replica-roster.ts'
import { parseSearch, type UploadedSearch } from '../visual-query.ts'
import { type SearchPorts, VisualSearch } from '../visual-search.ts'

export type PinnedSearchOptions = Pick<
  GatewayOptions,
  'imageMaxBytes' | 'deadlineMs' | 'maxK' | 'fanout' | 'featuresTimeoutMs' | 'stageBudgetMs'
>

/**
 * Searches as users' do, by the same code from picture to ranked results, for whoever holds generations against each
 * other: without caches, so that each answer is computed; not recorded as shown to anybody; not among the metrics of
 * users' searches; and with a fan-out of its own, whose latencies and breakers are no word on theirs.
 */
export class PinnedSearch {
  readonly #search: VisualSearch
  readonly #maxK: number
  readonly #deadlineMs: number

  /** @throws FreshetError `config-invalid` when the ranking weights are not usable */
  constructor(ports: SearchPorts & Pick<GatewayPorts, 'routing' | 'modelOf'>, options: PinnedSearchOptions) {
    const weights = WeightsBook.read()
    this.#maxK = options.maxK
    this.#deadlineMs = options.deadlineMs
    this.#search = new VisualSearch({
      ports,
      weights,
      roster: new ReplicaRoster(ports, options.fanout),
      router: new QueryRouter(ports, weights),
      engagement: { hashOf: () => '', queryId: () => ports.newId(), noteShown: () => {} },
      quality: { answered: () => {}, failed: () => {} },
      options: { ...options, meter: createNoopMeter(), cache: { pictureBytes: 0, candidateBytes: 0 } },
    })
  }

  /** The question names its generation. @throws FreshetError as `POST /v1/search` */
  search(question: SearchRequest | UploadedSearch, signal: AbortSignal): Promise<SearchAnswer> {
    const leftMs = Math.min(question.deadlineMs ?? this.#deadlineMs, this.#deadlineMs)
    return this.#search.search(parseSearch(question, this.#maxK), { signal, leftMs })
  }
}
