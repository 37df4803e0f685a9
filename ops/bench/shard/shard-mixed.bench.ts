import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeF16 } from '../../../schemas/unit-vector.ts'
import { median, quantile } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { BareThread } from './bare-thread.ts'
import type { BenchIndex } from './bench-index.ts'
import { MeasuredProcess } from './child-calls.ts'
import type { IndexProcess } from './index-child.ts'
import { ingestMeasures } from './ingest-rates.ts'
import { paced } from './paced.ts'
import {
  buildBare,
  calibrate,
  calibrateBare,
  dataText,
  dims,
  inFlightPerThread,
  k,
  layoutText,
  openIndex,
  recallFloor,
  type Scene,
  searchOf,
  searchOfBare,
  tuningFor,
  withScene,
} from './scene.ts'
import { inTurn, latencyMs, medianRatio, type SearchWindow, searchWindow } from './search-load.ts'
import type { ShardBenchOptions } from './shard-bench-options.ts'

const indexEntry = fileURLToPath(new URL('./index-child.ts', import.meta.url))
const mutationsPerSecond = 500
const sizesOf = {
  full: { pairs: 5, windowMs: 4_000, probes: 2_000 },
  quick: { pairs: 5, windowMs: 300, probes: 100 },
  smoke: { pairs: 1, windowMs: 20, probes: 4 },
} as const
const inFlight = 2 * inFlightPerThread

/** Searches while mutations are applied, and what applying can take. */
export async function shardMixedBench(options: ShardBenchOptions): Promise<Report> {
  const { pairs } = sizesOf[options.length]
  return withScene(options, async scene => {
    const index = await openIndex(scene, { name: 'mixed', capacity: options.rows + 100_000 })
    await index.fill(options.rows)
    await index.index.settled()
    const { effort, recall } = await calibrate(scene, index)
    note(`${layoutText(index.statistics())}; effort ${effort}, recall ${recall.toFixed(4)}`)
    const measures = [
      ...(await liveAgainstIdle(scene, index)),
      ...(await tailAgainstBare(scene, index)),
      ...(await whileCompacting(scene, index)),
      ...(await appliedToFound(scene, index)),
    ]
    await index.close()
    return {
      bench: 'shard-mixed',
      hardware: hardware(),
      data: `${dataText(options)}; ${mutationsPerSecond} mutations/s (half new items, half replacements) applied by the thread that sends the searches, default search threads`,
      seed: options.seed,
      baseline: `the same index without mutations, at the same effort (${effort}, recall ${recall.toFixed(4)}); median of ${pairs} interleaved pairs; queries/s with ${inFlight} in flight, latency with one client. Tail: usearch alone (one f16 index, recall@10 ≥ ${recallFloor}) in a process beside one that applies the same mutations`,
      measures: [...measures, ...(await ingestMeasures(scene))],
    }
  })
}

interface Moment {
  readonly full: SearchWindow
  readonly alone: SearchWindow
}

async function moment({ queries }: Scene, index: BenchIndex, ms: number): Promise<Moment> {
  const alone = await searchWindow(searchOf(index), queries, { ms, inFlight: 1 })
  return { full: await searchWindow(searchOf(index), queries, { ms, inFlight }), alone }
}

async function whileMutating<T>(index: BenchIndex, body: () => Promise<T>): Promise<T> {
  const mutations = paced(mutationsPerSecond, () => index.mutate())
  try {
    return await body()
  } finally {
    mutations.stop()
  }
}

async function liveAgainstIdle(scene: Scene, index: BenchIndex): Promise<readonly Measure[]> {
  const { pairs, windowMs } = sizesOf[scene.options.length]
  note('with mutations against without')
  index.prepare(Math.ceil((pairs * 2 * windowMs * mutationsPerSecond) / 1_000) + 1_000)
  const { first: live, second: idle } = await inTurn(
    pairs,
    () => whileMutating(index, () => moment(scene, index, windowMs)),
    () => moment(scene, index, windowMs),
  )
  const qps = (moments: readonly Moment[]): readonly number[] => moments.map(({ full }) => full.qps)
  const p95 = (moments: readonly Moment[]): readonly number[] => moments.map(({ alone }) => latencyMs([alone], 0.95))
  const alone = live.map(each => each.alone)
  return [
    measure('queries live / idle', medianRatio(qps(live), qps(idle)), '', { atLeast: 0.9 }),
    measure('p95 live / idle', medianRatio(p95(live), p95(idle)), '', { atMost: 1.5 }),
    measure('queries live', median(qps(live)), '1/s'),
    measure('queries idle', median(qps(idle)), '1/s'),
    measure('p50 live', latencyMs(alone, 0.5), 'ms'),
    measure('p95 live', latencyMs(alone, 0.95), 'ms'),
    measure('p99 live', latencyMs(alone, 0.99), 'ms'),
    measure('worst search live', latencyMs(alone, 1), 'ms'),
  ]
}

/**
 * Our tail while mutating against the bare library's while another process applies the same mutations: called in a
 * loop, which never sleeps, and on a thread of its own, which like ours is woken for each query.
 */
async function tailAgainstBare(scene: Scene, index: BenchIndex): Promise<readonly Measure[]> {
  const { pairs, windowMs } = sizesOf[scene.options.length]
  const { rows, seed } = scene.options
  note('the tail against that of usearch alone')
  const file = buildBare(scene)
  const { bare } = await calibrateBare(scene, file)
  const thread = await BareThread.open(bare, file.path, k)
  const other = new MeasuredProcess<IndexProcess>(indexEntry)
  const directory = join(scene.directory, 'beside')
  const capacity = rows + 100_000
  try {
    await other.calls.fill({ directory, dims, seed, capacity, tuning: tuningFor(rows) }, rows)
    const ms = 2 * windowMs
    const [ours, theirs, handed]: [SearchWindow[], SearchWindow[], SearchWindow[]] = [[], [], []]
    for (let pair = 0; pair < pairs; pair++) {
      ours.push(await whileMutating(index, () => searchWindow(searchOf(index), scene.queries, { ms, inFlight: 1 })))
      await other.calls.startMutations(mutationsPerSecond)
      theirs.push(await searchWindow(searchOfBare(bare), scene.queries, { ms, inFlight: 1 }))
      handed.push(await searchWindow(query => thread.search(query), scene.queries, { ms, inFlight: 1 }))
      await other.calls.stopMutations()
    }
    const tail = (windows: readonly SearchWindow[]): number => latencyMs(windows, 0.999)
    return [
      measure('p99.9 live / bare p99.9 under the same load', tail(ours) / tail(theirs), '', { atMost: 3 }),
      measure('p99.9 live / that of bare on a thread of its own', tail(ours) / tail(handed), ''),
      measure('p99.9 live', tail(ours), 'ms'),
      measure('bare p99.9 under the same load', tail(theirs), 'ms'),
      measure('bare p99.9 on a thread of its own', tail(handed), 'ms'),
      measure('worst search live, longer run', latencyMs(ours, 1), 'ms'),
      measure('bare worst search under the same load', latencyMs(theirs, 1), 'ms'),
    ]
  } finally {
    await Promise.all([other.close(), thread.close()])
  }
}

/** Each round everything is merged into one segment: the longest work that a builder can have. */
async function whileCompacting(scene: Scene, index: BenchIndex): Promise<readonly Measure[]> {
  const { pairs: rounds, windowMs } = sizesOf[scene.options.length]
  note('while everything is merged into one segment')
  const [idle, compacting]: [number[], number[]] = [[], []]
  const alone: SearchWindow[] = []
  let unfinished = 0
  for (let round = 0; round < rounds; round++) {
    await index.index.settled()
    idle.push((await searchWindow(searchOf(index), scene.queries, { ms: windowMs, inFlight })).qps)
    let isDone = false
    const done = index.index.compact(true).then(() => {
      isDone = true
    })
    const { full, alone: single } = await whileMutating(index, () => moment(scene, index, windowMs))
    if (!isDone) unfinished++
    compacting.push(full.qps)
    alone.push(single)
    await done
  }
  return [
    measure('queries live while a builder compacts / idle', medianRatio(compacting, idle), '', { atLeast: 0.7 }),
    measure('rounds in which the builder was at it all the time', unfinished / rounds, ''),
    measure('p95 while a builder compacts', latencyMs(alone, 0.95), 'ms'),
    measure('worst search while a builder compacts', latencyMs(alone, 1), 'ms'),
  ]
}

/** From the return of `put` to an answer that holds the item, under the mutations of others. */
async function appliedToFound(scene: Scene, index: BenchIndex): Promise<readonly Measure[]> {
  const { probes } = sizesOf[scene.options.length]
  note('from applied to found')
  const times = await whileMutating(index, async () => {
    const found: number[] = []
    for (let probe = 0; probe < probes; probe++) {
      const item = probe % 2 === 0 ? index.limit : index.anyItem()
      const query = decodeF16(index.put(item))
      const applied = performance.now()
      for (;;) {
        const { hits } = await index.search(query, k)
        if (hits.some(hit => hit.item === item)) break
      }
      found.push(performance.now() - applied)
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    return found
  })
  return [
    measure('applied to found, p99', quantile(times, 0.99), 'ms', { atMost: 10 }),
    measure('applied to found, p50', quantile(times, 0.5), 'ms'),
    measure('applied to found, worst', quantile(times, 1), 'ms'),
  ]
}
