import { FreshetError } from '../../schemas/errors.ts'
import { printReport, type Report } from './report.ts'

interface Bench {
  readonly description: string
  readonly load: () => Promise<() => Promise<Report>>
}

/** Every bench by its name. */
export const benches: Readonly<Record<string, Bench>> = {
  ingest: {
    description: 'events/s through the whole path, against the bare model loop',
    load: async () => (await import('./ingest.bench.ts')).ingestBench,
  },
  freshness: {
    description: 'time from accepted to searchable, against the bare model time',
    load: async () => (await import('./freshness.bench.ts')).freshnessBench,
  },
  search: {
    description: 'time of a search by image, against the bare model time',
    load: async () => (await import('./search.bench.ts')).searchBench,
  },
  start: {
    description: 'first and later `npm start`, and the memory it takes',
    load: async () => (await import('./start.bench.ts')).startBench,
  },
  disk: {
    description: 'disk after rewriting every item 100 times',
    load: async () => (await import('./disk.bench.ts')).diskBench,
  },
}

/** Runs a bench, prints its report and writes it to `jsonPath` when given. False when a goal is missed. @throws FreshetError `bad-request` */
export async function runBench(name: string, jsonPath?: string): Promise<boolean> {
  const bench = benches[name]
  if (bench === undefined)
    throw new FreshetError('bad-request', `there is no bench ${name}; known are ${Object.keys(benches).join(', ')}`)
  const run = await bench.load()
  return printReport(await run(), jsonPath)
}
