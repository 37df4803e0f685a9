import type { Meter } from '@opentelemetry/api'
import { FreshetError } from '../schemas/errors.ts'
import type { Offset } from '../schemas/ids.ts'
import type {
  SearchExplanation,
  ShardHit,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../schemas/shard-api.ts'
import { type FanoutMetrics, meterFanout } from './fanout/fanout-metrics.ts'
import type { FanoutOptions } from './fanout/fanout-options.ts'
import { compareHits, mergeHits } from './fanout/merge-hits.ts'
import { drawsOf } from './fanout/replica-choice.ts'
import { type AskContext, processOf, ShardAsk, type ShardOutcome } from './fanout/shard-ask.ts'
import { ShardTraffic } from './fanout/shard-traffic.ts'
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
  /** The best of all shards that answered, by similarity, each item once. */
  readonly hits: readonly RankedHit[]
  readonly coverage: { readonly answered: number; readonly total: number }
  readonly degraded: readonly Degradation[]
  readonly indexAgeMs: number
  readonly watermarks: Readonly<Record<string, Offset>>
  /** Of the shards that told it: the request asks for it. */
  readonly explanations: readonly ShardExplanation[]
}

export interface FanoutCall {
  /** Ends the query: its deadline, or the caller has gone. */
  readonly signal: AbortSignal
  /** `candidates` to rank again, a few hundred; `results`: the request's k. */
  readonly wanted: 'results' | 'candidates'
}

export interface ShardFanoutParts {
  readonly options: FanoutOptions
  readonly meter: Meter
  /** Those known now, for what is told of each. */
  readonly replicas: () => readonly ShardReplica[]
  /** Whether queries wait for their turn; never when left out. */
  readonly isCrowded?: (() => boolean) | undefined
  readonly monotonicMs?: () => number
  /** 0 to 1. */
  readonly random?: () => number
}

/**
 * Asks one replica of each shard and merges the answers: another one beside a slow one or after one that failed, within
 * a budget for all queries; sick replicas are left out until they are well. One per gateway: it learns from each query.
 */
export class ShardFanout {
  readonly #options: FanoutOptions
  readonly #context: Omit<AskContext, 'inFlight' | 'draws'> & { readonly random: () => number }

  constructor({ options, meter, replicas, ...given }: ShardFanoutParts) {
    const nowMs = given.monotonicMs ?? (() => performance.now())
    const random = given.random ?? Math.random
    const isCrowded = given.isCrowded ?? (() => false)
    const traffic = new ShardTraffic(options, random)
    const metrics: FanoutMetrics = meterFanout(meter, { traffic, replicas, nowMs })
    this.#options = options
    this.#context = { traffic, metrics, nowMs, random, isCrowded, shardTimeoutMs: options.shardTimeoutMs }
  }

  /**
   * Resolves with what came in time, and says what is missing.
   * @throws FreshetError `not-ready` when no shard answered; `fingerprint-mismatch` and `vector-*` when all that were
   * asked refuse the query itself
   */
  async search(
    routes: readonly ShardRoute[],
    request: ShardSearchRequest,
    { signal, wanted }: FanoutCall,
  ): Promise<FanoutAnswer> {
    const { candidatesPerShard, maxCandidates, shardTimeoutMs } = this.#options
    const isRanked = wanted === 'candidates'
    const k = isRanked ? Math.max(candidatesPerShard, request.k) : request.k
    const shardRequest = k === request.k ? request : { ...request, k }
    const context = this.#contextOf(routes)
    const asks = routes.map(route => new ShardAsk(route, shardRequest, context))
    const outcomes = await outcomesOf(asks, signal, shardTimeoutMs)
    return merged(outcomes, isRanked ? Math.max(maxCandidates, request.k) : request.k)
  }

  /**
   * For one query: its shards choose by the same loads, and by draws that make them choose the same process, which then
   * has one message to read and one to write. Where nothing is in hand that would only have one process do all of it.
   */
  #contextOf(routes: readonly ShardRoute[]): AskContext {
    const { traffic, random } = this.#context
    const inFlight = new Map<string, number>()
    for (const { replicas } of routes)
      for (const replica of replicas) {
        const process = processOf(replica)
        inFlight.set(process, (inFlight.get(process) ?? 0) + traffic.of(replica).inFlight)
      }
    const seed = random()
    const isIdle = [...inFlight.values()].every(requests => requests === 0)
    const draws: AskContext['draws'] = ({ shard, replicas }) =>
      drawsOf(isIdle ? (seed + shard / replicas.length) % 1 : seed)
    return { ...this.#context, inFlight, draws }
  }
}

async function outcomesOf(
  asks: readonly ShardAsk[],
  signal: AbortSignal,
  limitMs: number,
): Promise<readonly ShardOutcome[]> {
  const giveUp = (): void => {
    for (const ask of asks) ask.giveUp()
  }
  if (signal.aborted) giveUp()
  const timer = setTimeout(giveUp, limitMs)
  signal.addEventListener('abort', giveUp, { once: true })
  try {
    return await Promise.all(asks.map(({ outcome }) => outcome))
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', giveUp)
  }
}

function merged(outcomes: readonly ShardOutcome[], limit: number): FanoutAnswer {
  const lists: RankedHit[][] = []
  const degraded = new Set<Degradation>()
  const watermarks: Record<string, Offset> = {}
  const explanations: ShardExplanation[] = []
  let indexAgeMs = 0
  for (const outcome of outcomes) {
    if ('failure' in outcome) {
      degraded.add(degradationOf(outcome))
      continue
    }
    if (outcome.isStale) degraded.add('shard-not-ready')
    const { answer, replica } = outcome
    indexAgeMs = Math.max(indexAgeMs, answer.indexAgeMs)
    Object.assign(watermarks, answer.watermarks)
    const who = { shard: replica.shard, replica: replica.replica }
    lists.push(inOrder(answer.hits.map(hit => ({ hit, plan: answer.plan, ...who }))))
    if (answer.explain !== undefined) explanations.push({ ...who, ...answer.explain })
  }
  if (lists.length === 0) throw noneAnswered(outcomes)
  const coverage = { answered: lists.length, total: outcomes.length }
  return { hits: mergeHits(lists, limit), coverage, degraded: [...degraded], indexAgeMs, watermarks, explanations }
}

/** Shards order by similarity alone: ties of theirs come in any order. */
function inOrder(hits: RankedHit[]): RankedHit[] {
  for (let at = 1; at < hits.length; at++)
    if (compareHits(hits[at - 1]!.hit, hits[at]!.hit) > 0) return hits.sort((a, b) => compareHits(a.hit, b.hit))
  return hits
}

type ShardFailure = Extract<ShardOutcome, { readonly failure: FreshetError }>

function degradationOf({ failure, isLate }: ShardFailure): Degradation {
  if (isLate) return 'shard-timeout'
  return failure.code === 'not-ready' ? 'shard-not-ready' : 'shard-failed'
}

function noneAnswered(outcomes: readonly ShardOutcome[]): FreshetError {
  const failures = outcomes.flatMap(outcome => ('failure' in outcome ? [outcome] : []))
  const [first] = failures
  if (first !== undefined && failures.every(({ failure }) => isRefusal(failure))) return first.failure
  const reasons = [...new Set(failures.map(degradationOf))]
  return new FreshetError('not-ready', `no shard answered: ${reasons.join(', ') || 'there is none'}`, {
    cause: first?.failure,
    details: { degraded: reasons, coverage: { answered: 0, total: outcomes.length } },
  })
}

/** The query itself is wrong, if all say so; one that alone says so is itself wrong. */
function isRefusal({ code }: FreshetError): boolean {
  return code === 'fingerprint-mismatch' || code.startsWith('vector-')
}
