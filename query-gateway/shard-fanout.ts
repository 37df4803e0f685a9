import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { Offset } from '../schemas/ids.ts'
import type {
  SearchExplanation,
  ShardHit,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../schemas/shard-api.ts'
import { untilAborted } from './deadline.ts'
import type { ShardRoute } from './replica-roster.ts'

/** Why an answer is not whole. */
export type Degradation = 'shard-timeout' | 'shard-failed' | 'shard-not-ready'

export interface RankedHit {
  readonly hit: ShardHit
  readonly plan: ShardSearchResult['plan']
  readonly shard: number
  readonly replica: string
}

export interface ShardExplanation extends SearchExplanation {
  readonly shard: number
  readonly replica: string
}

export interface FanoutAnswer {
  /** Best k of all shards that answered. */
  readonly hits: readonly RankedHit[]
  readonly coverage: { readonly answered: number; readonly total: number }
  readonly degraded: readonly Degradation[]
  readonly indexAgeMs: number
  readonly watermarks: Readonly<Record<string, Offset>>
  /** Of the shards that told it: the request asks for it. */
  readonly explanations: readonly ShardExplanation[]
}

type ShardOutcome =
  | { readonly answer: ShardSearchResult; readonly replica: ShardReplica; readonly behind: boolean }
  | { readonly failure: Degradation; readonly cause: FreshetError }

/**
 * Asks one replica of each shard, the next best when one fails, until the signal aborts; merges what came.
 * @throws FreshetError `not-ready` when no shard answered; `fingerprint-mismatch` and `vector-*` when the query itself is refused
 */
export async function searchShards(
  routes: readonly ShardRoute[],
  request: ShardSearchRequest,
  signal: AbortSignal,
): Promise<FanoutAnswer> {
  const outcomes = await Promise.all(routes.map(route => searchShard(route, request, signal)))
  const hits: RankedHit[] = []
  const degraded = new Set<Degradation>()
  const watermarks: Record<string, Offset> = {}
  const explanations: ShardExplanation[] = []
  let answered = 0
  let indexAgeMs = 0
  for (const outcome of outcomes) {
    if ('failure' in outcome) {
      degraded.add(outcome.failure)
      continue
    }
    answered++
    if (outcome.behind) degraded.add('shard-not-ready')
    const { answer, replica } = outcome
    indexAgeMs = Math.max(indexAgeMs, answer.indexAgeMs)
    Object.assign(watermarks, answer.watermarks)
    const who = { shard: replica.shard, replica: replica.replica }
    for (const hit of answer.hits) hits.push({ hit, plan: answer.plan, ...who })
    if (answer.explain !== undefined) explanations.push({ ...who, ...answer.explain })
  }
  if (answered === 0) throw noneAnswered(outcomes)
  hits.sort(bySimilarity)
  const coverage = { answered, total: routes.length }
  return { hits: hits.slice(0, request.k), coverage, degraded: [...degraded], indexAgeMs, watermarks, explanations }
}

async function searchShard(route: ShardRoute, request: ShardSearchRequest, signal: AbortSignal): Promise<ShardOutcome> {
  let failure: ShardOutcome = {
    failure: 'shard-not-ready',
    cause: new FreshetError('not-ready', `shard ${route.shard} has no replica`),
  }
  for (const replica of route.replicas) {
    try {
      const answer = await untilAborted(replica.search(request, signal), signal)
      return { answer, replica, behind: route.behind }
    } catch (thrown) {
      const cause = asFreshetError(thrown)
      if (isRefusal(cause)) throw cause
      failure = { failure: signal.aborted ? 'shard-timeout' : degradationOf(cause), cause }
      if (signal.aborted) break
    }
  }
  return failure
}

/** The query itself is wrong; no other replica would take it. */
function isRefusal({ code }: FreshetError): boolean {
  return code === 'fingerprint-mismatch' || code.startsWith('vector-')
}

function degradationOf({ code }: FreshetError): Degradation {
  if (code === 'timeout') return 'shard-timeout'
  return code === 'not-ready' ? 'shard-not-ready' : 'shard-failed'
}

function noneAnswered(outcomes: readonly ShardOutcome[]): FreshetError {
  const causes = outcomes.flatMap(outcome => ('failure' in outcome ? [outcome] : []))
  const reasons = [...new Set(causes.map(({ failure }) => failure))]
  return new FreshetError('not-ready', `no shard answered: ${reasons.join(', ') || 'there is none'}`, {
    cause: causes[0]?.cause,
    details: { degraded: reasons, coverage: { answered: 0, total: outcomes.length } },
  })
}

/** Ties by item id, so that the same query has the same answer. */
function bySimilarity(a: RankedHit, b: RankedHit): number {
  return b.hit.similarity - a.hit.similarity || (a.hit.itemId < b.hit.itemId ? -1 : 1)
}
