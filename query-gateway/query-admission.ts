import type { Attributes, Meter } from '@opentelemetry/api'
import type { FreshetError } from '../schemas/errors.ts'
import type { GatewayOptions } from './gateway-options.ts'
import { loopTurns } from './load/loop-turns.ts'
import { QueryLane, type RefusalReason, refusalReasons } from './load/query-lane.ts'

/**
 * What bounds a query's speed: `pictures` the model processes, `fetches` the host of a picture that is loaded first,
 * `lookups`, which run no model, the shards. Each has places of its own, so that one kind does not hold up another.
 */
export const laneNames = ['pictures', 'fetches', 'lookups'] as const
export type LaneName = (typeof laneNames)[number]

export interface Wish {
  /** `lookups` when left out. */
  readonly lane?: LaneName
  /** Time for the whole query, waiting included. */
  readonly deadlineMs?: number | undefined
  /** Aborts when the client has gone. */
  readonly signal?: AbortSignal
}

/** What a query has when its turn comes. */
export interface QueryTurn {
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal
  /** Of its time, after what it waited. */
  readonly leftMs: number
}

type Bounds = Pick<
  GatewayOptions,
  'maxConcurrentQueries' | 'maxConcurrentPictures' | 'maxQueuedQueries' | 'maxQueueMs' | 'deadlineMs' | 'meter'
>

const never = new AbortController().signal
const courtesyPollMs = 5

/**
 * Bounds the queries at work and those waiting; what is beyond is refused at once, so that a retry elsewhere is quick.
 * Work that can wait asks `calm` first.
 */
export class QueryAdmission {
  readonly #lanes: Readonly<Record<LaneName, QueryLane>>
  readonly #deadlineMs: number
  readonly #nowMs: () => number

  constructor(bounds: Bounds, nowMs: () => number) {
    const { maxConcurrentQueries, maxConcurrentPictures, maxQueuedQueries: maxWaiting, maxQueueMs: maxWaitMs } = bounds
    this.#deadlineMs = bounds.deadlineMs
    this.#nowMs = nowMs
    const observers = laneObservers(bounds.meter)
    const lane = (name: LaneName, maxRunning: number) =>
      new QueryLane({ maxRunning, maxWaiting, maxWaitMs }, nowMs, observers(name))
    this.#lanes = {
      pictures: lane('pictures', maxConcurrentPictures),
      fetches: lane('fetches', maxConcurrentQueries),
      lookups: lane('lookups', maxConcurrentQueries),
    }
    observeLanes(bounds.meter, this.#lanes)
  }

  /**
   * The query itself sees to its end.
   * @throws FreshetError `overloaded` | the signal's reason | what the query threw
   */
  run<T>(query: (turn: QueryTurn) => Promise<T>, wish: Wish = {}): Promise<T> {
    const { lane = 'lookups', deadlineMs = this.#deadlineMs, signal = never } = wish
    const patienceMs = Math.min(deadlineMs, this.#deadlineMs)
    const endsAtMs = this.#nowMs() + patienceMs
    const inTurn = async (): Promise<T> => {
      await loopTurns.mine()
      signal.throwIfAborted()
      try {
        return await query({ signal, leftMs: Math.max(0, endsAtMs - this.#nowMs()) })
      } finally {
        // Whatever it came to because nobody waited any more is neither a failure nor an answer that was not whole.
        signal.throwIfAborted()
      }
    }
    return this.#lanes[lane].run(inTurn, { patienceMs, signal })
  }

  /** What a query of one of the lanes would be told; null when one of them would take it. For refusing before reading. */
  refusal(lanes: readonly LaneName[]): FreshetError | null {
    for (const name of lanes) if (this.#lanes[name].refusal() === null) return null
    const lane = this.#lanes[lanes[0]!]
    return lane.refuse(lane.refusal()!)
  }

  /** Whether queries of the lane wait for their turn. */
  isCrowded(lane: LaneName): boolean {
    return this.#lanes[lane].waiting > 0
  }

  /** Queries that wait for their turn. */
  get waiting(): number {
    return laneNames.reduce((sum, name) => sum + this.#lanes[name].waiting, 0)
  }

  /** Resolves when no query waits, or after the time, so that what lets queries go first is itself never starved. */
  async calm(atMostMs: number): Promise<void> {
    for (let waitedMs = 0; this.waiting > 0 && waitedMs < atMostMs; waitedMs += courtesyPollMs)
      await new Promise(resolve => setTimeout(resolve, courtesyPollMs))
  }
}

function laneObservers(meter: Meter) {
  const waited = meter.createHistogram('freshet.query.wait.duration', {
    description: 'Time that queries waited for their turn, of those that waited and ran',
    unit: 's',
  })
  const refused = meter.createCounter('freshet.query.refused', {
    description: 'Queries refused because too many were at work, by lane and reason',
  })
  return (lane: LaneName) => {
    const attributes: Attributes = { lane }
    // Told from the start, so that the first refusal is an increase and not a new series.
    for (const reason of refusalReasons) refused.add(0, { lane, reason })
    return {
      waited: (ms: number) => waited.record(ms / 1_000, attributes),
      refused: (reason: RefusalReason) => refused.add(1, { lane, reason }),
    }
  }
}

function observeLanes(meter: Meter, lanes: Readonly<Record<LaneName, QueryLane>>): void {
  const running = meter.createObservableGauge('freshet.query.running', { description: 'Queries at work, by lane' })
  const waiting = meter.createObservableGauge('freshet.query.waiting', { description: 'Queries waiting, by lane' })
  running.addCallback(result => {
    for (const lane of laneNames) result.observe(lanes[lane].running, { lane })
  })
  waiting.addCallback(result => {
    for (const lane of laneNames) result.observe(lanes[lane].waiting, { lane })
  })
}
