import { setTimeout as pause } from 'node:timers/promises'
import type { Meter } from '@opentelemetry/api'
import { type ObservedGauge, observeGauges, type Reading } from '../query-gateway/observed-gauges.ts'
import type { GatewayPorts, RoutedGeneration } from '../query-gateway/ports.ts'
import { asFreshetError, type FreshetError } from '../schemas/errors.ts'
import type { Generation, ItemId } from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import type { ShardReplica } from '../schemas/shard-api.ts'
import { type ProbeVector, probeReplica } from '../topologies/generations/canary/replica-probe.ts'
import { vectorStatistics } from '../topologies/generations/canary/vector-statistics.ts'

export interface CanaryWatchOptions {
  readonly ports: Pick<GatewayPorts, 'routing' | 'replicas' | 'partitions' | 'clock'>
  /** Items of the catalogue, about so many. */
  readonly itemIds: (count: number, signal: AbortSignal) => Promise<readonly ItemId[]>
  /** 0: never. */
  readonly everyMs: number
  readonly meter: Meter
  /** Told when a round could not be made, not again until one was. */
  readonly onTrouble: (error: FreshetError) => void
}

/** What the last round found out about a replica. */
interface ProbedReplica {
  readonly generation: Generation
  readonly labels: { readonly generation: string; readonly shard: string; readonly replica: string }
  readonly hasFailed: boolean
  readonly selfFirst: number | null
  readonly recall: number | null
  readonly normDeviation: number | null
  readonly wrongDims: number
}

/** The whole of a round. */
export interface ProbeRound {
  readonly atMs: number
  readonly replicas: readonly ProbedReplica[]
  /** Of generations that share the queries: how much less of its true neighbours one finds than the best of them. */
  readonly divergence: ReadonlyMap<Generation, number>
}

/** Items kept as probes; each round takes some of them per replica, the next round the next ones. */
const probeItems = 200
const probesPerReplica = 10
/** Rounds after which the items are drawn anew: some are gone by then, and others have come. */
const roundsPerDraw = 30
const closeWithinMs = 1_000

/**
 * Asks every ready replica of every generation, on a schedule, for neighbours that are known: a stored vector must
 * find its own item first, and the index must find what an exact scan finds. One replica after another, ten probes
 * each; every gateway does so for itself. What it finds out are metrics; `ops/alerts.yaml` has rules on them.
 */
export class CanaryWatch {
  readonly #options: CanaryWatchOptions
  readonly #closing = new AbortController()
  #items: readonly ItemId[] = []
  #rounds = 0
  #last: ProbeRound | null = null
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> = Promise.resolve()
  #isTroubled = false

  constructor(options: CanaryWatchOptions) {
    this.#options = options
    observeGauges(options.meter, probeGauges, () => this.#last)
  }

  /** Once. */
  start(): void {
    if (this.#options.everyMs > 0) this.#schedule()
  }

  /** Ends a round that runs, and does not wait for a replica that hangs. Repeatable. */
  async stop(): Promise<void> {
    this.#closing.abort()
    if (this.#timer !== null) clearTimeout(this.#timer)
    await Promise.race([this.#running, pause(closeWithinMs, undefined, { ref: false })])
  }

  /** A round now. @throws FreshetError log codes, when items cannot be drawn */
  async probe(): Promise<ProbeRound> {
    const { routing, replicas, clock } = this.#options.ports
    if (this.#items.length === 0 || this.#rounds % roundsPerDraw === 0)
      this.#items = await this.#options.itemIds(probeItems, this.#closing.signal)
    const routes = new Map(routing().map(route => [route.generation, route]))
    const probed: ProbedReplica[] = []
    for (const replica of replicas()) {
      this.#closing.signal.throwIfAborted()
      const route = routes.get(replica.generation)
      if (route !== undefined && (await isReady(replica))) probed.push(await this.#probe(replica, route))
    }
    this.#rounds++
    this.#last = { atMs: clock(), replicas: probed, divergence: divergenceOf(probed, [...routes.values()]) }
    return this.#last
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#running = this.#round()
    }, this.#options.everyMs)
    this.#timer.unref()
  }

  async #round(): Promise<void> {
    try {
      await this.probe()
      this.#isTroubled = false
    } catch (thrown) {
      if (!this.#closing.signal.aborted && !this.#isTroubled) this.#options.onTrouble(asFreshetError(thrown))
      this.#isTroubled = true
    }
    if (!this.#closing.signal.aborted) this.#schedule()
  }

  async #probe(replica: ShardReplica, { fingerprint, dims }: RoutedGeneration): Promise<ProbedReplica> {
    const { generation, shard, replica: id } = replica
    const of = { generation, labels: { generation, shard: String(shard), replica: id } }
    const { signal } = this.#closing
    let lengths: Pick<ProbedReplica, 'normDeviation' | 'wrongDims'> = { normDeviation: null, wrongDims: 0 }
    try {
      const probes = await this.#probesOf(replica)
      lengths = lengthsOf(probes, dims)
      const fitting = probes.filter(({ vector }) => vector.length === dims)
      const { selfFirst, recall } = await probeReplica(replica, fitting, { fingerprint, signal })
      return { ...of, ...lengths, hasFailed: false, selfFirst, recall }
    } catch {
      signal.throwIfAborted()
      return { ...of, ...lengths, hasFailed: true, selfFirst: null, recall: null }
    }
  }

  /** Of its own partitions, those whose turn it is, as it holds them. */
  async #probesOf(replica: ShardReplica): Promise<readonly ProbeVector[]> {
    const { partitions } = this.#options.ports
    const own = this.#items.filter(itemId => replica.partitions.includes(partitionOf(itemId, partitions)))
    const first = own.length === 0 ? 0 : (this.#rounds * probesPerReplica) % own.length
    const turn = [...own.slice(first), ...own.slice(0, first)].slice(0, probesPerReplica)
    const probes: ProbeVector[] = []
    for (const itemId of turn) {
      const vector = await replica.objectVector(itemId, 0)
      if (vector !== null) probes.push({ itemId, vector })
    }
    return probes
  }
}

function lengthsOf(probes: readonly ProbeVector[], dims: number) {
  const sampled = probes.map(({ vector }) => ({ vector, imageDigest: null }))
  const { normMin, normMax, wrongDims } = vectorStatistics(sampled, dims)
  return { normDeviation: normMin === null ? null : Math.max(Math.abs(normMin - 1), Math.abs(normMax! - 1)), wrongDims }
}

async function isReady(replica: ShardReplica): Promise<boolean> {
  const status = await replica.status().catch(() => null)
  return status?.state === 'ready'
}

function divergenceOf(
  probed: readonly ProbedReplica[],
  routes: readonly RoutedGeneration[],
): ReadonlyMap<Generation, number> {
  const recalls = routes
    .filter(({ share }) => share > 0)
    .flatMap(({ generation }) => {
      const known = probed.flatMap(each => (each.generation === generation ? (each.recall ?? []) : []))
      const mean = known.reduce((sum, recall) => sum + recall, 0) / known.length
      return known.length === 0 ? [] : [{ generation, mean }]
    })
  const best = Math.max(...recalls.map(({ mean }) => mean))
  return new Map(recalls.map(({ generation, mean }) => [generation, best - mean]))
}

function ofReplicas(
  name: string,
  description: string,
  of: (replica: ProbedReplica) => number | null,
): ObservedGauge<ProbeRound | null> {
  return {
    name: `freshet.probe.${name}`,
    description,
    read: round =>
      (round?.replicas ?? []).flatMap((replica): Reading[] => {
        const value = of(replica)
        return value === null ? [] : [[value, replica.labels]]
      }),
  }
}

const probeGauges: readonly ObservedGauge<ProbeRound | null>[] = [
  ofReplicas('failed', '1 when the replica is ready and could not be probed, else 0', each => Number(each.hasFailed)),
  ofReplicas('self_first', 'Share of stored vectors that found their own item first', each => each.selfFirst),
  ofReplicas('recall', 'Share of the true neighbours of stored vectors that the index found', each => each.recall),
  ofReplicas('norm_deviation', 'Greatest distance of the length of a stored vector from 1', each => each.normDeviation),
  ofReplicas('wrong_dims', 'Stored vectors that are not of the dimension of the model', each => each.wrongDims),
  {
    name: 'freshet.probe.recall_divergence',
    description: 'How much lower the recall is than that of the best generation that shares the queries',
    read: round => [...(round?.divergence ?? [])].map(([generation, value]) => [value, { generation }]),
  },
  {
    name: 'freshet.probe.timestamp',
    unit: 's',
    description: 'When the last round of probes ended, since 1970',
    read: round => (round === null ? [] : [[round.atMs / 1_000, {}]]),
  },
]
