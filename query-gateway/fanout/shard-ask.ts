import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import type { ShardReplica, ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import { inChildSpan } from '../../schemas/trace-span.ts'
import type { ShardRoute } from '../replica-roster.ts'
import type { FanoutMetrics } from './fanout-metrics.ts'
import type { LatencyQuantile } from './latency-quantile.ts'
import { requirePlausible } from './plausible-answer.ts'
import { askingOrder } from './replica-choice.ts'
import type { ReplicaTraffic, ShardTraffic } from './shard-traffic.ts'

/** Why a request was sent to a replica. */
export type AttemptKind = 'first' | 'hedge' | 'retry'

export type ShardOutcome =
  | {
      readonly answer: ShardSearchResult
      readonly replica: ShardReplica
      /** It may be behind: it is not ready, or staler than a sibling that did not answer. */
      readonly isStale: boolean
      readonly tookMs: number
      /** Requests that were sent for it. */
      readonly attempts: number
    }
  | { readonly failure: FreshetError; readonly isLate: boolean }

export interface AskContext {
  readonly traffic: ShardTraffic
  readonly metrics: FanoutMetrics
  /** Monotonic. */
  readonly nowMs: () => number
  /** What the choice among the replicas of a shard is drawn from. */
  readonly draws: (route: ShardRoute) => () => number
  /** Whether queries wait for their turn. */
  readonly isCrowded: () => boolean
  /** By process, before the first request of this query: its own are not to move its shards from one to another. */
  readonly inFlight: ReadonlyMap<string, number>
  /** A replica that was given up after half of it has failed. */
  readonly shardTimeoutMs: number
}

export const processOf = (replica: ShardReplica): string => replica.address ?? replica.replica

/** The reason of every request that is ended early. One for all: nobody looks at where it was made. */
const cancelled = new FreshetError('timeout', 'the answer is no longer waited for')

interface Attempt {
  readonly replica: ShardReplica
  readonly kind: AttemptKind
  readonly traffic: ReplicaTraffic
  readonly isTrial: boolean
  /** Place among the requests for this shard. */
  readonly place: number
  readonly startedAtMs: number
  readonly abort: AbortController
}

/**
 * One shard of one query. Asks the best replica; asks another one beside it when it takes longer than most answers of
 * the shard do, and at once when it fails; takes the first good answer and ends the other requests. What is asked
 * beyond the first replica is bounded by the global budget; without a token a hedge is tried again later, a failure is
 * told. Over with an answer, when no replica is left, or when it is given up.
 */
export class ShardAsk {
  readonly outcome: Promise<ShardOutcome>
  readonly #settled = Promise.withResolvers<ShardOutcome>()
  readonly #route: ShardRoute
  readonly #request: ShardSearchRequest
  readonly #context: AskContext
  readonly #order: readonly ShardReplica[]
  readonly #running = new Set<Attempt>()
  readonly #startedAtMs: number
  #asked = 0
  #hedging: NodeJS.Timeout | null = null
  #wasDenied = false
  #isOver = false
  #hedgeAfterMs = Number.POSITIVE_INFINITY

  constructor(route: ShardRoute, request: ShardSearchRequest, context: AskContext) {
    this.#route = route
    this.#request = request
    this.#context = context
    this.#startedAtMs = context.nowMs()
    this.outcome = this.#settled.promise
    this.#order = this.#chooseOrder()
    if (this.#order.length > 0) this.#start()
    else this.#end({ failure: new FreshetError('not-ready', `shard ${route.shard} has no replica`), isLate: false })
  }

  /** Time is over, or the caller has gone: ends what is running. */
  giveUp(): void {
    if (this.#isOver) return
    const nowMs = this.#context.nowMs()
    for (const attempt of this.#running) {
      const { breaker } = attempt.traffic
      if (this.#isFailureByTime(nowMs - attempt.startedAtMs)) breaker.failed(nowMs)
      else if (attempt.isTrial) breaker.forget()
      // Of one that was hardly waited for nothing is known.
      if (nowMs - attempt.startedAtMs >= this.#hedgeAfterMs) this.#noteLatency(attempt, nowMs)
      this.#cancel(attempt, 'given-up')
    }
    this.#end({
      failure: new FreshetError('timeout', `shard ${this.#route.shard} did not answer in time`),
      isLate: true,
    })
  }

  /** Exact searches take long on purpose; and a query whose own time is short says nothing of a replica. */
  #isFailureByTime(ms: number): boolean {
    return this.#request.exact !== true && ms >= this.#context.shardTimeoutMs / 2
  }

  #chooseOrder(): readonly ShardReplica[] {
    const { traffic, nowMs, draws, inFlight } = this.#context
    const { replicas, fresh } = this.#route
    const now = nowMs()
    const standbys = replicas.map(replica => {
      const admission = traffic.of(replica).breaker.admission(now)
      const process = processOf(replica)
      return { replica, process, isFresh: fresh.includes(replica), admission, inFlight: inFlight.get(process) ?? 0 }
    })
    return askingOrder(standbys, draws(this.#route), traffic.extra.tokens >= 1)
  }

  #start(): void {
    const { traffic, isCrowded } = this.#context
    traffic.extra.earn()
    this.#send('first')
    // Exact searches take much of a machine too.
    if (this.#order.length === 1 || this.#request.exact === true) return
    this.#hedgeAfterMs = traffic.hedgeAfterMs(this.#latency(), this.#startedAtMs, isCrowded())
    this.#hedgeIn(this.#hedgeAfterMs)
  }

  #latency(): LatencyQuantile {
    return this.#context.traffic.latency(this.#order[0]!, this.#startedAtMs)
  }

  #hedgeIn(delayMs: number): void {
    // Whole milliseconds are all that timers know; they cut off the rest.
    this.#hedging = setTimeout(() => this.#hedge(delayMs), Math.ceil(delayMs))
  }

  #hedge(afterMs: number): void {
    this.#hedging = null
    if (this.#isOver || !this.#hasWellNext()) return
    const { traffic, metrics } = this.#context
    const [slow] = this.#running
    // Of a trial it is expected: it has what retries have.
    const isTaken = slow?.isTrial === true ? traffic.extra.takeForRetry() : traffic.extra.takeForHedge()
    if (isTaken) {
      metrics.hedge('sent')
      this.#send('hedge')
      return
    }
    if (!this.#wasDenied) metrics.hedge('denied')
    this.#wasDenied = true
    this.#hedgeIn(2 * afterMs)
  }

  /** A sick replica is a last resort for failures, of no use beside one that may only be slow. */
  #hasWellNext(): boolean {
    const next = this.#order[this.#asked]
    const { traffic, nowMs } = this.#context
    return next !== undefined && traffic.of(next).breaker.admission(nowMs()) === 'closed'
  }

  #send(kind: AttemptKind): void {
    const replica = this.#order[this.#asked++]!
    const { traffic, nowMs } = this.#context
    const known = traffic.of(replica)
    const startedAtMs = nowMs()
    const isTrial = known.breaker.admission(startedAtMs) === 'trial'
    if (isTrial) known.breaker.beginTrial()
    known.inFlight++
    const place = this.#asked
    const attempt = { replica, kind, traffic: known, isTrial, place, startedAtMs, abort: new AbortController() }
    this.#running.add(attempt)
    const attributes = attemptAttributes(replica, kind)
    const { signal } = attempt.abort
    inChildSpan('search shard', { attributes, signal }, () => replica.search(this.#request, signal)).then(
      answer => this.#receive(attempt, answer),
      thrown => this.#noteFailure(attempt, thrown),
    )
  }

  #receive(attempt: Attempt, answer: ShardSearchResult): void {
    if (!this.#running.has(attempt)) return
    try {
      requirePlausible(answer, this.#request, attempt.replica)
    } catch (thrown) {
      this.#noteFailure(attempt, thrown)
      return
    }
    const { nowMs, metrics } = this.#context
    const now = nowMs()
    attempt.traffic.breaker.answered(now)
    this.#noteLatency(attempt, now)
    this.#finish(attempt, 'answered')
    if (attempt.kind === 'hedge') metrics.hedge('won')
    for (const slower of this.#running) this.#overtake(slower, attempt, now)
    const { replica } = attempt
    const isStale = !this.#route.fresh.includes(replica)
    this.#end({ answer, replica, isStale, tookMs: now - this.#startedAtMs, attempts: this.#asked })
  }

  /** Only one that began before the winner has lost: the other had less time. */
  #overtake(slower: Attempt, winner: Attempt, nowMs: number): void {
    const { breaker } = slower.traffic
    if (slower.place < winner.place) breaker.lost(nowMs)
    else if (slower.isTrial) breaker.forget()
    this.#noteLatency(slower, nowMs)
    this.#cancel(slower, 'overtaken')
  }

  #noteFailure(attempt: Attempt, thrown: unknown): void {
    if (!this.#running.has(attempt)) return
    const { nowMs, traffic, metrics } = this.#context
    attempt.traffic.breaker.failed(nowMs())
    this.#finish(attempt, 'failed')
    if (this.#running.size > 0) return
    const isLast = this.#asked >= this.#order.length
    if (isLast || !traffic.extra.takeForRetry()) {
      if (!isLast) metrics.retry('denied')
      const failure = asFreshetError(thrown)
      this.#end({ failure, isLate: failure.code === 'timeout' })
      return
    }
    metrics.retry('sent')
    this.#send('retry')
  }

  /** Of the first replica alone: those asked later are asked when the shard is slow. */
  #noteLatency({ kind, startedAtMs }: Attempt, nowMs: number): void {
    if (kind === 'first' && this.#request.exact !== true) this.#latency().add(nowMs - startedAtMs, nowMs)
  }

  #cancel(attempt: Attempt, why: 'overtaken' | 'given-up'): void {
    this.#finish(attempt, why)
    attempt.abort.abort(cancelled)
  }

  #finish(attempt: Attempt, how: 'answered' | 'failed' | 'overtaken' | 'given-up'): void {
    this.#running.delete(attempt)
    attempt.traffic.inFlight--
    const { metrics, nowMs } = this.#context
    metrics.attempt({ shard: this.#route.shard, kind: attempt.kind, how, tookMs: nowMs() - attempt.startedAtMs })
  }

  #end(outcome: ShardOutcome): void {
    this.#isOver = true
    if (this.#hedging !== null) clearTimeout(this.#hedging)
    this.#settled.resolve(outcome)
  }
}

/** Of the span of a request. */
function attemptAttributes({ shard, replica, generation }: ShardReplica, kind: AttemptKind) {
  return {
    'freshet.shard': shard,
    'freshet.replica': replica,
    'freshet.generation': generation,
    'freshet.attempt': kind,
    'freshet.hedge': kind === 'hedge',
  }
}
