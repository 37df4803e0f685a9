import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import type { BareSearchProcess } from './bare-child.ts'
import type { BareIndexFile, BareUsearch } from './bare-usearch.ts'
import type { BenchIndex } from './bench-index.ts'
import { MeasuredProcess } from './child-calls.ts'
import { paced } from './paced.ts'
import { type PeerName, peerNames } from './peer-engines.ts'
import { peerTable } from './peers.ts'
import { recallOf } from './recall.ts'
import {
  answersOf,
  buildBare,
  calibrate,
  calibrateBare,
  dataText,
  dims,
  inFlightPerThread,
  layoutText,
  openIndex,
  recallFloor,
  type Scene,
  searchOf,
  searchOfBare,
  truthOf,
  tuningFor,
  withScene,
} from './scene.ts'
import { interleaved, latencyMs, medianRatio, type SearchWindow, searchWindow } from './search-load.ts'
import type { BenchLength, ShardBenchOptions } from './shard-bench-options.ts'

const bareEntry = fileURLToPath(new URL('./bare-child.ts', import.meta.url))
const tombstoneShare = 0.1
const heavyPerSecond = 2_000

interface Sizes {
  readonly pairs: number
  readonly windowMs: number
  readonly heavySeconds: number
  readonly peers: readonly PeerName[]
}

const sizesOf: Readonly<Record<BenchLength, Sizes>> = {
  full: { pairs: 7, windowMs: 1_500, heavySeconds: 90, peers: peerNames },
  quick: { pairs: 5, windowMs: 200, heavySeconds: 6, peers: peerNames },
  smoke: { pairs: 1, windowMs: 20, heavySeconds: 0.1, peers: ['freshet'] },
}

/** Queries/s at equal recall against the bare library, in the layouts that a live shard has. */
export async function shardSearchBench(options: ShardBenchOptions): Promise<Report> {
  const sizes = sizesOf[options.length]
  return withScene(options, async scene => {
    const file = buildBare(scene)
    const { bare, recall } = await calibrateBare(scene, file)
    note(`bare usearch: expansion ${bare.expansionSearch}, recall ${recall.toFixed(4)}`)
    const sealed = await sealedSegment(scene, bare, sizes)
    const cores = await twoBareProcesses(scene, { file, bare, sizes })
    const settled = await settledState(scene, bare, sizes)
    const peers = await peerTable(options, sizes.peers)
    return {
      bench: 'shard-search',
      hardware: hardware(),
      data: `${dataText(options)}; ${scene.queries.count} queries`,
      seed: options.seed,
      baseline: `usearch alone: one f16 index of all rows (M 16, expansion_add 128), viewed, called in a loop by one thread, at expansion_search ${bare.expansionSearch}, the smallest that reaches recall@10 ≥ ${recallFloor} (${recall.toFixed(4)}). Ours: one search thread through search(), ${inFlightPerThread} queries in flight, at the smallest effort that reaches it. Median of ${sizes.pairs} interleaved pairs of ${sizes.windowMs} ms. Last, engines at equal recall with one client${peers.missing.map(reason => `; ${reason}`).join('')}`,
      measures: [...sealed, cores, ...settled, ...peers.measures],
    }
  })
}

async function sealedSegment(scene: Scene, bare: BareUsearch, sizes: Sizes): Promise<readonly Measure[]> {
  const { rows } = scene.options
  const index = await openIndex(scene, { name: 'one', capacity: rows, tuning: { threads: 1 } })
  await index.fill(rows)
  await index.index.compact(true)
  await index.reclaim()
  const measured = await againstBare(scene, { index, bare, sizes, name: 'one sealed segment', atLeast: 0.85 })
  cpSync(join(scene.directory, 'one'), join(scene.directory, 'two'), { recursive: true })
  const two = await openIndex(scene, { name: 'two', capacity: rows, tuning: { threads: 2 } })
  two.index.setEffort(index.index.effort)
  const { ratio } = await interleaved(
    sizes.pairs,
    () => qps(scene, two, { threads: 2, ms: sizes.windowMs }),
    () => qps(scene, index, { threads: 1, ms: sizes.windowMs }),
  )
  await two.close()
  await index.close()
  return [...measured, measure('two search threads / one', ratio, '', { atLeast: 1.7 })]
}

/** What two cores are worth here to a library whose threads share nothing but the file. */
async function twoBareProcesses(
  { options, queries }: Scene,
  { file, bare, sizes }: { readonly file: BareIndexFile; readonly bare: BareUsearch; readonly sizes: Sizes },
): Promise<Measure> {
  const processes = [0, 1].map(() => new MeasuredProcess<BareSearchProcess>(bareEntry))
  const [first] = processes as [MeasuredProcess<BareSearchProcess>]
  const qpsOf = (some: readonly MeasuredProcess<BareSearchProcess>[]) => async (): Promise<number> => {
    const each = await Promise.all(some.map(({ calls }) => calls.qps(sizes.windowMs)))
    return each.reduce((sum, one) => sum + one, 0)
  }
  try {
    const { expansionSearch } = bare
    const asked = { path: file.path, dims, expansionSearch, seed: options.seed, queries: queries.count }
    for (const { calls } of processes) await calls.open(asked)
    await qpsOf(processes)()
    const { ratio } = await interleaved(sizes.pairs, qpsOf(processes), qpsOf([first]))
    return measure('two bare processes / one', ratio, '')
  } finally {
    await Promise.all(processes.map(process => process.close()))
  }
}

/** One large segment, a small one, a log segment half full and a tenth of tombstones; then the heaviest ingest on top. */
async function settledState(scene: Scene, bare: BareUsearch, sizes: Sizes): Promise<readonly Measure[]> {
  const { rows } = scene.options
  const capacity = rows + 2 * sizes.heavySeconds * heavyPerSecond
  const index = await openIndex(scene, { name: 'settled', capacity, tuning: { threads: 1 } })
  const { logRows } = tuningFor(rows)
  const [small, unsealed] = [3 * logRows, logRows / 2]
  await index.fill(rows - small - unsealed)
  await index.index.compact(true)
  await index.fill(small)
  await index.index.settled()
  await index.fill(unsealed)
  await index.index.settled()
  for (let i = 0; i < tombstoneShare * rows; i++) index.remove(index.anyItem())
  await index.index.settled()
  const { graphs, scannedRows, tombstones, rows: live } = index.statistics()
  const settled = await againstBare(scene, { index, bare, sizes, name: 'settled state', atLeast: 0.5 })
  const heavy = await heavyIngest(scene, index, bare, sizes)
  await index.close()
  return [
    ...settled,
    measure('settled state: graphs', graphs, ''),
    measure('settled state: rows scanned', scannedRows, ''),
    measure('settled state: tombstones / rows', tombstones / (live + tombstones), ''),
    ...heavy,
  ]
}

/**
 * Mutations at the highest rate asked of the engine, without a pause, while searches by us and by the bare library
 * take turns in the same process; so segments and graphs pile up as they do in earnest.
 */
async function heavyIngest(
  scene: Scene,
  index: BenchIndex,
  bare: BareUsearch,
  sizes: Sizes,
): Promise<readonly Measure[]> {
  const bareQps = async (): Promise<number> =>
    (await searchWindow(searchOfBare(bare), scene.queries, { ms: sizes.windowMs, inFlight: 1 })).qps
  const idle: number[] = []
  for (let window = 0; window < sizes.pairs; window++) idle.push(await bareQps())
  index.prepare(Math.ceil(1.2 * sizes.heavySeconds * heavyPerSecond))
  const ingest = paced(heavyPerSecond, () => index.mutate())
  const ends = performance.now() + sizes.heavySeconds * 1_000
  const [ours, theirs, layouts]: [number[], number[], ReturnType<BenchIndex['statistics']>[]] = [[], [], []]
  while (performance.now() < ends) {
    layouts.push(index.statistics())
    ours.push(await qps(scene, index, { threads: 1, ms: sizes.windowMs }))
    theirs.push(await bareQps())
  }
  ingest.stop()
  const recall = recallOf(await answersOf(index, scene.queries), truthOf(scene, index.liveRows()))
  const worst = worstStretch(ours, theirs)
  const most = (of: 'graphs' | 'segments' | 'scannedRows'): number => Math.max(...layouts.map(layout => layout[of]))
  note(`heavy ingest ends with ${layoutText(index.statistics())}, recall ${recall.toFixed(4)}`)
  return [
    measure('worst moment of heavy ingest / bare under the same load', worst.ratio, '', { atLeast: 0.3 }),
    measure('worst moment of heavy ingest / bare, idle', worst.qps / median(idle), '', { atLeast: 0.3 }),
    measure('heavy ingest: recall@10 when it ends', recall, '', { atLeast: recallFloor }),
    measure('heavy ingest: applied / due', ingest.done / ingest.due, ''),
    measure('heavy ingest: most graphs', most('graphs'), '', { atMost: 6 }),
    measure('heavy ingest: most segments', most('segments'), ''),
    measure('heavy ingest: most rows scanned', most('scannedRows'), ''),
  ]
}

const stretch = 5

/** The worst stretch of so many pairs in a row, by the median of its ratios. */
function worstStretch(ours: readonly number[], theirs: readonly number[]) {
  let worst = { ratio: Number.POSITIVE_INFINITY, qps: 0 }
  for (let from = 0; from === 0 || from + stretch <= ours.length; from++) {
    const some = ours.slice(from, from + stretch)
    const ratio = medianRatio(some, theirs.slice(from, from + stretch))
    if (ratio < worst.ratio) worst = { ratio, qps: median(some) }
  }
  return worst
}

async function qps(
  { queries }: Scene,
  index: BenchIndex,
  { threads, ms }: { readonly threads: number; readonly ms: number },
): Promise<number> {
  return (await searchWindow(searchOf(index), queries, { ms, inFlight: threads * inFlightPerThread })).qps
}

interface Comparison {
  readonly index: BenchIndex
  readonly bare: BareUsearch
  readonly sizes: Sizes
  readonly name: string
  readonly atLeast: number
}

/** At the effort that reaches the floor in this layout. */
async function againstBare(
  scene: Scene,
  { index, bare, sizes, name, atLeast }: Comparison,
): Promise<readonly Measure[]> {
  const { effort, recall } = await calibrate(scene, index)
  note(`${name}: ${layoutText(index.statistics())}; effort ${effort}, recall ${recall.toFixed(4)}`)
  const full: SearchWindow[] = []
  const bareWindows: SearchWindow[] = []
  const { first, second, ratio } = await interleaved(
    sizes.pairs,
    async () => {
      const options = { ms: sizes.windowMs, inFlight: inFlightPerThread }
      full.push(await searchWindow(searchOf(index), scene.queries, options))
      return full.at(-1)!.qps
    },
    async () => {
      bareWindows.push(await searchWindow(searchOfBare(bare), scene.queries, { ms: sizes.windowMs, inFlight: 1 }))
      return bareWindows.at(-1)!.qps
    },
  )
  const alone = await searchWindow(searchOf(index), scene.queries, { ms: sizes.windowMs, inFlight: 1 })
  const cpu = (windows: readonly SearchWindow[]): number => median(windows.map(each => each.cpuMsPerQuery * 1_000))
  return [
    measure(`${name} / bare`, ratio, '', { atLeast }),
    measure(`${name}: recall@10`, recall, '', { atLeast: recallFloor }),
    measure(`${name}: effort`, effort, ''),
    measure(`${name}: queries`, median(first), '1/s'),
    measure(`${name}: bare queries`, median(second), '1/s'),
    measure(`${name}: CPU of a query, all threads`, cpu(full), 'µs'),
    measure(`${name}: bare CPU of a query`, cpu(bareWindows), 'µs'),
    measure(`${name}: p50, one client`, latencyMs([alone], 0.5), 'ms'),
    measure(`${name}: p99, one client`, latencyMs([alone], 0.99), 'ms'),
    measure(`${name}: bare p50`, latencyMs(bareWindows, 0.5), 'ms'),
    measure(`${name}: bare p99`, latencyMs(bareWindows, 0.99), 'ms'),
  ]
}
