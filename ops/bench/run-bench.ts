import { FreshetError } from '../../schemas/errors.ts'
import type { KafkaBenchOptions } from './kafka/kafka-bench-options.ts'
import { printReport, type Report } from './report.ts'
import { parseShardBenchOptions, type ShardBenchOptions } from './shard/shard-bench-options.ts'

/** `takes`: which options of the command line it knows. */
type Bench = { readonly description: string } & (
  | { readonly takes: 'nothing'; readonly load: () => Promise<() => Promise<Report>> }
  | { readonly takes: 'size'; readonly load: () => Promise<(options: ShardBenchOptions) => Promise<Report>> }
  | { readonly takes: 'length'; readonly load: () => Promise<(options: KafkaBenchOptions) => Promise<Report>> }
)

/** As the command line has them. */
export interface BenchArguments {
  readonly rows?: string
  readonly seed?: string
  readonly quick?: boolean
}

/** Every bench by its name. */
export const benches: Readonly<Record<string, Bench>> = {
  ingest: {
    description: 'events/s through the whole path, against the bare model loop',
    takes: 'nothing',
    load: async () => (await import('./ingest.bench.ts')).ingestBench,
  },
  freshness: {
    description: 'time from accepted to searchable, against the bare model time',
    takes: 'nothing',
    load: async () => (await import('./freshness.bench.ts')).freshnessBench,
  },
  search: {
    description: 'time of a search by image, against the bare model time',
    takes: 'nothing',
    load: async () => (await import('./search.bench.ts')).searchBench,
  },
  start: {
    description: 'first and later `npm start`, and the memory it takes',
    takes: 'nothing',
    load: async () => (await import('./start.bench.ts')).startBench,
  },
  disk: {
    description: 'disk after rewriting every item 100 times',
    takes: 'nothing',
    load: async () => (await import('./disk.bench.ts')).diskBench,
  },
  telemetry: {
    description: 'what measuring and tracing cost where nobody asked for traces, against the same work without',
    takes: 'nothing',
    load: async () => (await import('./telemetry.bench.ts')).telemetryBench,
  },
  'shard-search': {
    description: 'queries/s of a shard at equal recall, against bare usearch, and a table of other engines',
    takes: 'size',
    load: async () => (await import('./shard/shard-search.bench.ts')).shardSearchBench,
  },
  'shard-mixed': {
    description: 'searches while mutations are applied, and what applying can take',
    takes: 'size',
    load: async () => (await import('./shard/shard-mixed.bench.ts')).shardMixedBench,
  },
  'shard-churn': {
    description: 'a shard with every vector replaced three times, against a fresh one',
    takes: 'size',
    load: async () => (await import('./shard/shard-churn.bench.ts')).shardChurnBench,
  },
  'shard-filter': {
    description: 'recall and speed of filtered searches, by what the filter allows',
    takes: 'size',
    load: async () => (await import('./shard/shard-filter.bench.ts')).shardFilterBench,
  },
  'shard-recovery': {
    description: 'kill -9 to full coverage, and opening a segment against the bare library',
    takes: 'size',
    load: async () => (await import('./shard/shard-recovery.bench.ts')).shardRecoveryBench,
  },
  'shard-memory': {
    description: 'bytes per vector in memory and on disk, for both kinds of segment',
    takes: 'size',
    load: async () => (await import('./shard/shard-memory.bench.ts')).shardMemoryBench,
  },
  'delete-storm': {
    description: 'half of the items deleted at 5,000/s under searches',
    takes: 'size',
    load: async () => (await import('./shard/delete-storm.bench.ts')).deleteStormBench,
  },
  'kafka-ingest': {
    description: 'events/s over real servers, against the same hops with the libraries alone',
    takes: 'length',
    load: async () => (await import('./kafka/kafka-ingest.bench.ts')).kafkaIngestBench,
  },
  'kafka-freshness': {
    description: 'time from accepted by Kafka to searchable on both replicas, under load',
    takes: 'length',
    load: async () => (await import('./kafka/kafka-freshness.bench.ts')).kafkaFreshnessBench,
  },
  drain: {
    description: 'searches and live events while a backlog of 100,000 events drains',
    takes: 'length',
    load: async () => (await import('./kafka/drain.bench.ts')).drainBench,
  },
  replay: {
    description: 'a shard made again from the mutation log on Kafka, against a bare usearch build',
    takes: 'length',
    load: async () => (await import('./kafka/replay.bench.ts')).replayBench,
  },
  hedging: {
    description: 'searches while one shard answer in a hundred is late, with hedges and without',
    takes: 'length',
    load: async () => (await import('./gateway/hedging.bench.ts')).hedgingBench,
  },
  'gateway-overhead': {
    description: 'what the gateway adds to its shards, against fastify and undici alone',
    takes: 'length',
    load: async () => (await import('./gateway/gateway-overhead.bench.ts')).gatewayOverheadBench,
  },
  'under-ingest': {
    description: 'searches while items are inserted, against the same server at rest',
    takes: 'length',
    load: async () => (await import('./gateway/under-ingest.bench.ts')).underIngestBench,
  },
  overload: {
    description: 'three times what a server can take, against the same server at its peak',
    takes: 'length',
    load: async () => (await import('./gateway/overload.bench.ts')).overloadBench,
  },
  'model-change': {
    description: 'searches by photo while a second generation is built and while queries are switched to it',
    takes: 'length',
    load: async () => (await import('./generations/model-change.bench.ts')).modelChangeBench,
  },
  rebuild: {
    description: 'pictures/s of a rebuild with nothing else to do, against the bare model loop',
    takes: 'length',
    load: async () => (await import('./generations/rebuild.bench.ts')).rebuildBench,
  },
  'photo-search': {
    description: 'searches by photo at 0.7 of the measured maximum, stage by stage',
    takes: 'length',
    load: async () => (await import('./gateway/photo-search.bench.ts')).photoSearchBench,
  },
}

/**
 * Runs a bench, prints its report and writes it to `json` when given. False when a goal is missed.
 * @throws FreshetError `bad-request`
 */
export async function runBench(
  name: string,
  { json, ...given }: BenchArguments & { readonly json?: string } = {},
): Promise<boolean> {
  const bench = benches[name]
  if (bench === undefined)
    throw new FreshetError('bad-request', `there is no bench ${name}; known are ${Object.keys(benches).join(', ')}`)
  switch (bench.takes) {
    case 'size': {
      const options = parseShardBenchOptions(given)
      return printReport(await (await bench.load())(options), json)
    }
    case 'length': {
      const { quick = false, ...others } = given
      requireNone(name, others)
      return printReport(await (await bench.load())({ length: quick ? 'quick' : 'full' }), json)
    }
    case 'nothing':
      requireNone(name, given)
      return printReport(await (await bench.load())(), json)
  }
}

/** @throws FreshetError `bad-request` */
function requireNone(name: string, given: object): void {
  if (Object.keys(given).length > 0)
    throw new FreshetError('bad-request', `the bench ${name} takes no ${Object.keys(given).join(', ')}`)
}
