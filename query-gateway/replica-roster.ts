import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { Generation, Partition } from '../schemas/ids.ts'
import type { ReplicaState, ShardReplica } from '../schemas/shard-api.ts'
import type { GatewayPorts, RoutedGeneration } from './ports.ts'

/** The replicas of one shard, best first: ready before others, fresher before staler. */
export interface ShardRoute {
  readonly shard: number
  readonly replicas: readonly ShardReplica[]
  /** Those that are ready and not much staler than the freshest of them: searches go to the others when these fail. */
  readonly fresh: readonly ShardReplica[]
  /** Those that are ready; all of them when none is. */
  readonly routable: readonly ShardReplica[]
  /** No replica of the shard is ready; an answer of it may be behind. */
  readonly behind: boolean
}

interface Standing {
  readonly state: ReplicaState | 'unreachable'
  readonly indexAgeMs: number
}

const standingFreshMs = 1_000

/** Standings are up to a second old, and of different moments. */
const defaultMaxReplicaLagMs = 5_000

/**
 * Who answers for which shard. The standing of a replica (state, index age) is asked for at most once a second and
 * in the background, so that no query waits for it; until the first answer it is what the replica reported of itself,
 * and one that has reported nothing counts as ready.
 */
export class ReplicaRoster {
  readonly #ports: Pick<GatewayPorts, 'replicas' | 'clock'>
  readonly #maxReplicaLagMs: number
  readonly #standings = new WeakMap<ShardReplica, Standing>()
  /** A replica that hangs is not asked again before its time is over. */
  readonly #beingAsked = new WeakSet<ShardReplica>()
  #askedAtMs = Number.NEGATIVE_INFINITY

  constructor(
    ports: Pick<GatewayPorts, 'replicas' | 'clock'>,
    { maxReplicaLagMs = defaultMaxReplicaLagMs }: { readonly maxReplicaLagMs?: number } = {},
  ) {
    this.#ports = ports
    this.#maxReplicaLagMs = maxReplicaLagMs
  }

  /** One route per shard of the generation, also for a shard that has no replica. */
  shards(generation: Pick<RoutedGeneration, 'generation' | 'shards'>): readonly ShardRoute[] {
    this.#refresh()
    const replicas = this.#of(generation.generation)
    return Array.from({ length: generation.shards }, (_, shard) =>
      this.#route(
        shard,
        replicas.filter(replica => replica.shard === shard),
      ),
    )
  }

  /** The route of the shard that owns a partition; without replicas when no shard says it does. */
  owner(generation: Generation, partition: Partition): ShardRoute {
    this.#refresh()
    const owners = this.#of(generation).filter(replica => replica.partitions.includes(partition))
    return this.#route(owners[0]?.shard ?? -1, owners)
  }

  #refresh(): void {
    const nowMs = this.#ports.clock()
    if (nowMs - this.#askedAtMs < standingFreshMs) return
    this.#askedAtMs = nowMs
    for (const replica of this.#ports.replicas()) void this.#ask(replica)
  }

  async #ask(replica: ShardReplica): Promise<void> {
    if (this.#beingAsked.has(replica)) return
    this.#beingAsked.add(replica)
    const standing = await askedStanding(replica)
    if (standing === null) this.#standings.delete(replica)
    else this.#standings.set(replica, standing)
    this.#beingAsked.delete(replica)
  }

  #of(generation: Generation): readonly ShardReplica[] {
    return this.#ports.replicas().filter(replica => replica.generation === generation)
  }

  #route(shard: number, replicas: readonly ShardReplica[]): ShardRoute {
    const ready = replicas.filter(replica => this.#isReady(replica))
    const ordered = replicas.length < 2 ? replicas : [...replicas].sort((a, b) => this.#rank(a) - this.#rank(b))
    return {
      shard,
      replicas: ordered,
      fresh: this.#freshOf(ready),
      routable: ready.length > 0 ? ready : replicas,
      behind: ready.length === 0,
    }
  }

  #freshOf(ready: readonly ShardReplica[]): readonly ShardReplica[] {
    if (ready.length < 2) return ready
    const ages = ready.map(replica => this.#standingOf(replica)?.indexAgeMs ?? 0)
    const limitMs = Math.min(...ages) + this.#maxReplicaLagMs
    return ready.filter((_, at) => ages[at]! <= limitMs)
  }

  #isReady(replica: ShardReplica): boolean {
    const standing = this.#standingOf(replica)
    return standing === undefined || standing.state === 'ready'
  }

  #standingOf(replica: ShardReplica): Standing | undefined {
    return this.#standings.get(replica) ?? replica.reported
  }

  /** Lower is better. */
  #rank(replica: ShardReplica): number {
    const standing = this.#standingOf(replica)
    if (this.#isReady(replica)) return standing?.indexAgeMs ?? 0
    return Number.MAX_SAFE_INTEGER * (standing?.state === 'catching-up' ? 1 : 2)
  }
}

/**
 * Never rejects: a replica that cannot be asked is `unreachable`, which is what the roster wants to know. One that is
 * late has much to do: null, as long as it is heard of otherwise, and what it says of itself unasked holds.
 */
async function askedStanding(replica: ShardReplica): Promise<Standing | null> {
  try {
    const { state, indexAgeMs } = await replica.status()
    return { state, indexAgeMs }
  } catch (thrown) {
    const isLate = (asFreshetError(thrown).details as { readonly why?: unknown } | undefined)?.why === 'late'
    if (isLate && replica.reported !== undefined) return null
    return { state: 'unreachable', indexAgeMs: Number.POSITIVE_INFINITY }
  }
}

/**
 * Asks the replicas of a route in turn until one answers.
 * @throws FreshetError what the last one threw; `not-ready` when there is none
 */
export async function askInTurn<T>(route: ShardRoute, ask: (replica: ShardReplica) => Promise<T>): Promise<T> {
  let failure = new FreshetError('not-ready', 'no replica holds this item’s partition')
  for (const replica of route.replicas) {
    try {
      return await ask(replica)
    } catch (thrown) {
      failure = asFreshetError(thrown)
    }
  }
  throw failure
}
