import { asFreshetError } from '../schemas/errors.ts'
import type { Status } from '../schemas/http-operations.ts'
import type { ReplicaStatus, ShardReplica } from '../schemas/shard-api.ts'
import { mainGeneration } from './generation-choice.ts'
import type { GatewayPorts, RoutedGeneration } from './ports.ts'
import type { QueryRouter } from './query-router.ts'
import type { RequestMeter } from './request-meter.ts'

/** What the status of this gateway is made of. */
export interface StatusParts {
  readonly ports: Pick<GatewayPorts, 'replicas' | 'routing' | 'pipeline' | 'ready' | 'clock'>
  readonly meter: RequestMeter
  readonly router: QueryRouter
}

type ReplicaView = Status['shards'][number]['replicas'][number]
type ReplicaAnswer = ReplicaStatus | { readonly unreachable: string }

/**
 * Asks every replica and the pipeline how they are. Items and index age are those of the generation with the largest
 * share; a gateway is ready when it can answer by the one with the largest share of those whose model it holds.
 */
export async function systemStatus({ ports, meter, router }: StatusParts): Promise<Status> {
  const replicas = ports.replicas()
  const [pipeline, answers] = await Promise.all([ports.pipeline(), Promise.all(replicas.map(statusOf))])
  const routing = ports.routing()
  const main = routing.length === 0 ? null : mainGeneration(routing)
  const ofMain = main ? freshestPerShard(main, answers) : []
  const held = router.heldMain()
  const { queue } = pipeline
  return {
    ready: ports.ready() && held !== null && isServing(held, freshestPerShard(held, answers)),
    items: itemCounts(ofMain),
    indexAgeMs: Math.max(0, ...ofMain.map(({ indexAgeMs }) => indexAgeMs)),
    rates: { ...pipeline.rates, accepted: meter.accepted.perSecond(), searches: meter.searches.perSecond() },
    generations: routing.map(route => {
      const ofIt = answers.filter((_, at) => replicas[at]!.generation === route.generation)
      return { ...healthOf(route, ofIt), held: router.holds(route) }
    }),
    shards: shardViews(replicas, answers),
    pipeline: {
      queue: { ...queue.waiting, delayed: queue.delayed, claimed: queue.claimed },
      processes: pipeline.processes,
      alarms: pipeline.alarms,
      deadLetters: pipeline.deadLetters,
    },
    atMs: ports.clock(),
  }
}

export function generationView(route: RoutedGeneration): Status['generations'][number] {
  const { generation, model, fingerprint, dims, state, share } = route
  return { id: generation, model, fingerprint, dims, state, share }
}

function healthOf(
  route: RoutedGeneration,
  answers: readonly ReplicaAnswer[],
): Omit<Status['generations'][number], 'held'> {
  const freshest = freshestPerShard(route, answers)
  const ready = answers.filter(answer => 'state' in answer && answer.state === 'ready').length
  return {
    ...generationView(route),
    items: itemCounts(freshest),
    indexAgeMs: freshest.length < route.shards ? null : Math.max(0, ...freshest.map(({ indexAgeMs }) => indexAgeMs)),
    replicas: { ready, total: answers.length },
  }
}

function itemCounts(replicas: readonly ReplicaStatus[]): Status['items'] {
  return {
    searchable: sum(replicas, ({ items }) => items.searchable),
    pending: sum(replicas, ({ items }) => items.pending),
    failed: sum(replicas, ({ items }) => items.failed),
    deleted: sum(replicas, ({ items }) => items.deleted),
  }
}

/** How replicas are, by shard; asks each of them. */
export async function replicaViews(replicas: readonly ShardReplica[]): Promise<Status['shards']> {
  return shardViews(replicas, await Promise.all(replicas.map(statusOf)))
}

/** Every shard of the generation has a ready replica. */
function isServing({ shards }: RoutedGeneration, freshest: readonly ReplicaStatus[]): boolean {
  return freshest.length === shards && freshest.every(({ state }) => state === 'ready')
}

async function statusOf(replica: ShardReplica): Promise<ReplicaAnswer> {
  try {
    return await replica.status()
  } catch (thrown) {
    return { unreachable: asFreshetError(thrown).message }
  }
}

function freshestPerShard(main: RoutedGeneration, answers: readonly ReplicaAnswer[]): readonly ReplicaStatus[] {
  const best = new Map<number, ReplicaStatus>()
  for (const answer of answers) {
    if ('unreachable' in answer || answer.generation !== main.generation) continue
    const held = best.get(answer.shard)
    if (!held || standing(answer) < standing(held)) best.set(answer.shard, answer)
  }
  return [...best.values()]
}

/** Lower is better: ready before others, then the fresher. */
function standing({ state, indexAgeMs }: ReplicaStatus): number {
  return state === 'ready' ? indexAgeMs : Number.MAX_SAFE_INTEGER
}

function shardViews(replicas: readonly ShardReplica[], answers: readonly ReplicaAnswer[]): Status['shards'] {
  const shards = new Map<number, ReplicaView[]>()
  replicas.forEach((replica, index) => {
    const views = shards.get(replica.shard) ?? []
    shards.set(replica.shard, [...views, replicaView(replica, answers[index]!)])
  })
  return [...shards].sort(([a], [b]) => a - b).map(([shard, views]) => ({ shard, replicas: views }))
}

function replicaView({ replica, generation }: ShardReplica, answer: ReplicaAnswer): ReplicaView {
  if ('unreachable' in answer)
    return { ...nothingKnown, id: replica, generation, state: 'unreachable', reason: answer.unreachable }
  const { state, reason, applied, watermark, indexAgeMs, rows, tombstones, segments, memoryBytes } = answer
  const { searchMs, storage, vectors, checkpoint, recall } = answer
  return {
    id: replica,
    generation,
    state,
    reason,
    applied: decimal(applied),
    watermark: decimal(watermark),
    indexAgeMs,
    rows,
    tombstones,
    segments,
    memoryBytes,
    digest: {
      set: digestSum(Object.values(answer.digests).map(digest => digest.set)),
      objects: digestSum(Object.values(answer.digests).map(digest => digest.objects)),
    },
    searchMs,
    storage,
    vectors,
    checkpoint,
    recall,
  }
}

const zeroDigest = '0'.repeat(32)
const nothingKnown = {
  applied: {},
  watermark: {},
  indexAgeMs: 0,
  rows: 0,
  tombstones: 0,
  segments: 0,
  memoryBytes: 0,
  digest: { set: zeroDigest, objects: zeroDigest },
  searchMs: { count: 0, sumMs: 0, p50: 0, p99: 0, buckets: [] },
  storage: {
    graphs: 0,
    scannedRows: 0,
    vectors: { memoryBytes: 0, diskBytes: 0, memoryPerVector: 0 },
    items: { memoryBytes: 0, diskBytes: 0, memoryPerItem: 0 },
  },
  vectors: { dims: 0, count: 0, normMin: 0, normMax: 0, normMean: 0 },
  checkpoint: { writtenAtMs: null, bytes: 0 },
  recall: null,
}

/** Digests are sums mod 2^128, so that of a replica is the sum of its partitions'. */
function digestSum(digests: readonly string[]): string {
  const total = digests.reduce((digest, part) => digest + BigInt(`0x${part}`), 0n)
  return BigInt.asUintN(128, total).toString(16).padStart(32, '0')
}

export function decimal(offsets: Readonly<Record<string, number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(offsets).map(([partition, offset]) => [partition, String(offset)]))
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0)
}
