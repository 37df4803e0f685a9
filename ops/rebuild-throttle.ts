import type { FreshetError } from '../schemas/errors.ts'
import type { Generation } from '../schemas/ids.ts'
import type { ReplicaStatus, ShardReplica } from '../schemas/shard-api.ts'
import type { ControlState, GenerationStatus } from '../topologies/control/control-state.ts'
import type { DispatchPace } from '../topologies/dispatch/pace.ts'
import type { DispatchRunner, DispatchStatus } from '../topologies/dispatch/runner.ts'
import {
  initialPace,
  type LiveLoad,
  learnSteady,
  nextPace,
  type RebuildPace,
} from '../topologies/generations/rebuild-pace.ts'
import { Polled } from './roles/polled.ts'

export interface RebuildThrottleOptions {
  readonly state: () => ControlState
  /** Of this process, started. */
  readonly dispatchers: () => readonly Pick<DispatchRunner, 'status' | 'setPace'>[]
  /** Known replicas of all generations. */
  readonly replicas: () => readonly ShardReplica[]
  /** What models took for queries, where this process runs both: rebuilds take the same processors. */
  readonly queries?: () => DurationSum
  readonly onTrouble: (error: FreshetError) => void
  /** Monotonic ms. */
  readonly clock: () => number
}

interface Rebuild {
  readonly pace: RebuildPace
  /** Images done since the start, at the last looks. */
  readonly looks: readonly { readonly done: number; readonly atMs: number }[]
  /** Over those looks. */
  readonly imagesPerSecond: number
}

/** Since the start. */
export interface DurationSum {
  readonly count: number
  readonly sumMs: number
}

const lookEveryMs = 1_000
/** So many looks are told of together, so that a single slow search, or a batch that is done at once, does not count for much. */
const lookedBack = 5
const fewestSearches = 10
/** Work of a generation being built that is handed out ahead: enough that workers never wait, soon done when it is paused. */
const secondsAhead = 2
const [fewestAhead, mostAhead] = [64, 1_024]

/**
 * Sets the pace of the dispatchers of this process, once a second: what the control log says of each, and for those
 * that are being built what searches and live events leave them (`rebuild-pace.ts`).
 */
export class RebuildThrottle {
  readonly #options: RebuildThrottleOptions
  readonly #rebuilds = new Map<Generation, Rebuild>()
  readonly #searches = new RecentDurations()
  readonly #queries = new RecentDurations()
  #polled: Polled<void> | null = null

  constructor(options: RebuildThrottleOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const { onTrouble } = this.#options
    this.#polled = await Polled.start({ ask: () => this.look(), everyMs: lookEveryMs, onTrouble })
  }

  async close(): Promise<void> {
    await this.#polled?.close()
  }

  /** Why the rebuild of a generation goes slower than it could, as far as this process paces it. */
  throttledBy(generation: Generation): RebuildPace['throttledBy'] {
    return this.#rebuilds.get(generation)?.pace.throttledBy ?? null
  }

  /** Lets the dispatchers go on as the control log says now. */
  apply(): void {
    const { state, dispatchers } = this.#options
    for (const dispatcher of dispatchers()) {
      const status = dispatcher.status()
      const generation = state().generations.get(status.generation)
      if (generation !== undefined) dispatcher.setPace(this.#paceOf(generation, status))
    }
  }

  /** One second's look. */
  async look(): Promise<void> {
    const { state, dispatchers, clock } = this.#options
    const serving = await this.#serving()
    const building = new Map<Generation, DispatchStatus>()
    for (const dispatcher of dispatchers()) {
      const status = dispatcher.status()
      const generation = state().generations.get(status.generation)
      if (generation !== undefined && isBuilding(generation, status)) building.set(status.generation, status)
    }
    if (building.size === 0) for (const durations of [this.#searches, this.#queries]) durations.learn()
    for (const generation of this.#rebuilds.keys()) if (!building.has(generation)) this.#rebuilds.delete(generation)
    const load = this.#loadOf(serving, building)
    for (const status of building.values()) this.#next(status, load, clock())
    this.apply()
  }

  #next(status: DispatchStatus, load: Omit<LiveLoad, 'imagesPerSecond'>, atMs: number): void {
    const { generation } = status
    const look = { done: doneBy(status), atMs }
    const before = this.#rebuilds.get(generation)
    // Of the first second it is not known what was done in it.
    if (before === undefined) {
      this.#rebuilds.set(generation, { pace: { ...initialPace, steadySearchMs: 1 }, looks: [look], imagesPerSecond: 0 })
      return
    }
    const first = before.looks[0]!
    const imagesPerSecond = Math.max(0, (1_000 * (look.done - first.done)) / Math.max(1, atMs - first.atMs))
    const looks = [...before.looks, look].slice(-lookedBack)
    const pace = nextPace(before.pace, { ...load, imagesPerSecond })
    this.#rebuilds.set(generation, { pace, looks, imagesPerSecond })
  }

  #paceOf(generation: GenerationStatus, status: DispatchStatus): DispatchPace {
    const { started, rebuild } = generation
    // Of dispatchers that share a generation each keeps its part of what an operator allows.
    const ownShare = status.partitions.length / Math.max(1, started.backfillUntil.length)
    const allowed = rebuild.imagesPerSecond === 0 ? null : rebuild.imagesPerSecond * ownShare
    const known = this.#rebuilds.get(started.generation)
    const left = known?.pace.imagesPerSecond ?? null
    return {
      ...paceAtStart(generation),
      imagesPerSecond: allowed === null ? left : Math.min(allowed, left ?? allowed),
      imageRecords: isBuilding(generation, status) ? aheadOf(generation, known?.imagesPerSecond ?? 0) : null,
    }
  }

  /** What the ready replicas of generations that answer queries say; those that do not answer are left out. */
  async #serving(): Promise<ReadonlyMap<string, ReplicaStatus>> {
    const { state, replicas } = this.#options
    const serving = replicas().filter(({ generation }) => (state().generations.get(generation)?.share ?? 0) > 0)
    const answers = await Promise.allSettled(serving.map(replica => replica.status()))
    const statuses = new Map<string, ReplicaStatus>()
    answers.forEach((answer, i) => {
      if (answer.status === 'fulfilled' && answer.value.state === 'ready')
        statuses.set(serving[i]!.replica, answer.value)
    })
    return statuses
  }

  /** Searches in units of what they take while nothing is built: those of shards and models differ in kind. */
  #loadOf(
    statuses: ReadonlyMap<string, ReplicaStatus>,
    building: ReadonlyMap<Generation, unknown>,
  ): Omit<LiveLoad, 'imagesPerSecond'> {
    this.#searches.add(Array.from(statuses, ([replica, { searchMs }]) => [replica, searchMs] as const))
    this.#queries.add([['models', this.#options.queries?.() ?? { count: 0, sumMs: 0 }]])
    const ratios = [this.#searches, this.#queries].flatMap(durations => durations.ratio ?? [])
    // That of a generation which answers queries while it is built, as the first does, is the age of its own backlog.
    const live = [...statuses.values()].filter(({ generation }) => !building.has(generation))
    const indexAgeMs = Math.max(0, ...live.map(status => status.indexAgeMs))
    return { indexAgeMs, searchMs: ratios.length === 0 ? null : Math.max(...ratios) }
  }
}

/** What something took in the last seconds, and what it takes while nothing is built. */
class RecentDurations {
  readonly #last = new Map<string, DurationSum>()
  readonly #recent: DurationSum[] = []
  #steady = initialPace

  /** Sums by where they are from, once a look. */
  add(sums: readonly (readonly [string, DurationSum])[]): void {
    let [count, sumMs] = [0, 0]
    for (const [from, sum] of sums) {
      const before = this.#last.get(from)
      this.#last.set(from, sum)
      // One that was started again counts anew.
      if (before === undefined || sum.count < before.count) continue
      count += sum.count - before.count
      sumMs += sum.sumMs - before.sumMs
    }
    this.#recent.push({ count, sumMs })
    if (this.#recent.length > lookedBack) this.#recent.shift()
  }

  learn(): void {
    this.#steady = learnSteady(this.#steady, { indexAgeMs: 0, searchMs: this.#meanMs, imagesPerSecond: 0 })
  }

  /** To what it takes in steady state; null when there are too few to tell, now or then. */
  get ratio(): number | null {
    const { steadySearchMs } = this.#steady
    const meanMs = this.#meanMs
    return meanMs === null || steadySearchMs === null ? null : meanMs / steadySearchMs
  }

  get #meanMs(): number | null {
    const count = this.#recent.reduce((sum, each) => sum + each.count, 0)
    return count < fewestSearches ? null : this.#recent.reduce((sum, each) => sum + each.sumMs, 0) / count
  }
}

/** With which a dispatcher begins, before it is known how far it is and what others leave it. */
export function paceAtStart(generation: GenerationStatus): DispatchPace {
  const { share, rebuild } = generation
  return {
    priority: share > 0 ? 'live' : 'standby',
    isPaused: rebuild.phase === 'paused',
    imagesPerSecond: rebuild.imagesPerSecond === 0 ? null : rebuild.imagesPerSecond,
    imageRecords: aheadOf(generation, 0),
  }
}

/** Events that may wait for image work. One that answers queries is not paused, and its attributes shall not wait. */
function aheadOf({ share }: GenerationStatus, imagesPerSecond: number): number | null {
  if (share > 0) return null
  return Math.min(mostAhead, Math.max(fewestAhead, Math.ceil(secondsAhead * imagesPerSecond)))
}

/** It has not caught up with what was in the catalog when it began, as far as this dispatcher sees. */
export function isBuilding({ started, rebuild }: GenerationStatus, { partitions }: DispatchStatus): boolean {
  if (rebuild.phase === 'caught-up') return false
  return partitions.some(({ partition, watermark }) => watermark + 1 < (started.backfillUntil[partition] ?? 0))
}

/** Images that were embedded, and objects that were copied. */
function doneBy({ counts, partitions }: DispatchStatus): number {
  return counts.jobs + counts.copied - partitions.reduce((sum, { pendingImages }) => sum + pendingImages, 0)
}
