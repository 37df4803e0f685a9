import { FreshetError } from '../../schemas/errors.ts'
import { printReport, type Report } from './report.ts'
import { parseShardBenchOptions, type ShardBenchOptions } from './shard/shard-bench-options.ts'

type Bench = { readonly description: string } & (
  | { readonly sized: false; readonly load: () => Promise<() => Promise<Report>> }
  | { readonly sized: true; readonly load: () => Promise<(options: ShardBenchOptions) => Promise<Report>> }
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
    sized: false,
    load: async () => (await import('./ingest.bench.ts')).ingestBench,
  },
  freshness: {
    description: 'time from accepted to searchable, against the bare model time',
    sized: false,
    load: async () => (await import('./freshness.bench.ts')).freshnessBench,
  },
  search: {
    description: 'time of a search by image, against the bare model time',
    sized: false,
    load: async () => (await import('./search.bench.ts')).searchBench,
  },
  start: {
    description: 'first and later `npm start`, and the memory it takes',
    sized: false,
    load: async () => (await import('./start.bench.ts')).startBench,
  },
  disk: {
    description: 'disk after rewriting every item 100 times',
    sized: false,
    load: async () => (await import('./disk.bench.ts')).diskBench,
  },
  'shard-search': {
    description: 'queries/s of a shard at equal recall, against bare usearch, and a table of other engines',
    sized: true,
    load: async () => (await import('./shard/shard-search.bench.ts')).shardSearchBench,
  },
  'shard-mixed': {
    description: 'searches while mutations are applied, and what applying can take',
    sized: true,
    load: async () => (await import('./shard/shard-mixed.bench.ts')).shardMixedBench,
  },
  'shard-churn': {
    description: 'a shard with every vector replaced three times, against a fresh one',
    sized: true,
    load: async () => (await import('./shard/shard-churn.bench.ts')).shardChurnBench,
  },
  'shard-filter': {
    description: 'recall and speed of filtered searches, by what the filter allows',
    sized: true,
    load: async () => (await import('./shard/shard-filter.bench.ts')).shardFilterBench,
  },
  'shard-recovery': {
    description: 'kill -9 to full coverage, and opening a segment against the bare library',
    sized: true,
    load: async () => (await import('./shard/shard-recovery.bench.ts')).shardRecoveryBench,
  },
  'shard-memory': {
    description: 'bytes per vector in memory and on disk, for both kinds of segment',
    sized: true,
    load: async () => (await import('./shard/shard-memory.bench.ts')).shardMemoryBench,
  },
  'delete-storm': {
    description: 'half of the items deleted at 5,000/s under searches',
    sized: true,
    load: async () => (await import('./shard/delete-storm.bench.ts')).deleteStormBench,
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
  if (bench.sized) {
    const options = parseShardBenchOptions(given)
    return printReport(await (await bench.load())(options), json)
  }
  if (Object.keys(given).length > 0)
    throw new FreshetError('bad-request', `the bench ${name} takes no ${Object.keys(given).join(', ')}`)
  return printReport(await (await bench.load())(), json)
}
