import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type IndexTuning, searchThreadsFor } from '../../../shard-node/segments/index-tuning.ts'
import type { IndexStatistics } from '../../../shard-node/vector-index.ts'
import { median } from '../figures.ts'
import { type Goal, hardware, type Measure, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { exactNeighbours } from './bare-usearch.ts'
import type { BenchIndexOptions } from './bench-index.ts'
import { withProcess } from './child-calls.ts'
import type { IndexProcess } from './index-child.ts'
import { itemMeasures } from './item-memory.ts'
import { type Answers, recallOf } from './recall.ts'
import { dataText, dims, k, layoutText, querySet, type Scene, tuningFor, withScene } from './scene.ts'
import { defaultRows, type ShardBenchOptions } from './shard-bench-options.ts'

const entry = fileURLToPath(new URL('./index-child.ts', import.meta.url))
/** The larger size, besides the rows asked for. */
const manyRows = 1_000_000
/** Times that each index is opened; memory is the median. */
const openings = { full: 3, quick: 3, smoke: 1 } as const
/** How soon calm is noticed while an index is filled; what is merged because of it does not depend on it. */
const calmMs = { full: 2_000, quick: 1_000, smoke: 100 } as const
const memoryGoals = { standard: 1_000, compressed: 52 } as const
const recallQueries = { full: 300, quick: 100, smoke: 20 } as const

interface MemoryCase {
  readonly kind: IndexTuning['kind']
  readonly rows: number
  /** Goals hold at the larger size. */
  readonly isJudged: boolean
}

/** Bytes per vector in memory and on disk, by both kinds of segment. */
export async function shardMemoryBench(options: ShardBenchOptions): Promise<Report> {
  const sizes = options.rows === defaultRows ? [options.rows, manyRows] : [options.rows]
  return withScene(options, async scene => {
    const measures: Measure[] = []
    for (const rows of sizes) {
      const truth = truthOfFirst(scene, rows)
      for (const kind of ['standard', 'compressed'] as const)
        measures.push(...(await caseMeasures(scene, { kind, rows, isJudged: rows === sizes.at(-1) }, truth)))
      measures.push(...(await itemMeasures(scene, rows)))
    }
    return {
      bench: 'shard-memory',
      hardware: hardware(),
      data: `${dataText(options)}; sizes ${sizes.map(rows => rows.toLocaleString('en')).join(' and ')}, put one after another and settled, what is merged once it is calm included`,
      seed: options.seed,
      baseline: `PSS (/proc/<pid>/smaps_rollup, with children) of the same process over an empty index that answered as many queries. One object per item, the server's default of search threads (cores - 1, at most 4); the index is opened from its files, has answered queries until every page was read, and garbage was collected; median of ${openings[options.length]} openings each`,
      measures,
    }
  })
}

function truthOfFirst({ data, options }: Scene, rows: number): Answers {
  const queries = querySet(data, recallQueries[options.length])
  return exactNeighbours(data.block(0, rows).vectors, queries.vectors, { dims, k })
}

async function caseMeasures(
  scene: Scene,
  { kind, rows, isJudged }: MemoryCase,
  truth: Answers,
): Promise<readonly Measure[]> {
  const name = `${kind}, ${rows.toLocaleString('en')}`
  const optionsOf = (directory: string): BenchIndexOptions => ({
    directory: join(scene.directory, directory),
    dims,
    seed: scene.options.seed,
    capacity: rows,
    tuning: { ...tuningFor(rows, kind), threads: searchThreadsFor(availableParallelism()) },
  })
  const queries = Math.max(truth.length, Math.floor(rows / 200))
  const filled = optionsOf(`${kind}-${rows}`)
  await withProcess<IndexProcess, void>(entry, process =>
    process.calls.build({ ...filled, calmMs: calmMs[scene.options.length] }, rows),
  )
  const empty: number[] = []
  const full: number[] = []
  let told: Served | null = null
  for (let opening = 0; opening < openings[scene.options.length]; opening++) {
    empty.push((await served(optionsOf(`${kind}-${rows}-empty`), queries)).bytes)
    told = await served(filled, queries)
    full.push(told.bytes)
  }
  const { answers, statistics, disk } = told!
  note(`${name}: ${layoutText(statistics)}`)
  const recall = recallOf(answers.slice(0, truth.length), truth)
  const judged = (goal: Goal): Goal | undefined => (isJudged ? goal : undefined)
  return [
    measure(
      `${name}: memory`,
      (median(full) - median(empty)) / rows,
      'B/vector',
      judged({ atMost: memoryGoals[kind] }),
    ),
    measure(`${name}: memory as the index tells it`, statistics.memoryBytes / rows, 'B/vector'),
    measure(`${name}: disk`, disk / rows, 'B/vector', judged({ atMost: 1_200 })),
    measure(
      `${name}: recall@10 at the default effort`,
      recall,
      '',
      kind === 'compressed' ? judged({ atLeast: 0.98 }) : undefined,
    ),
  ]
}

interface Served {
  readonly bytes: number
  readonly answers: Answers
  readonly statistics: IndexStatistics
  readonly disk: number
}

/** In a new process. */
function served(options: BenchIndexOptions, queries: number): Promise<Served> {
  return withProcess<IndexProcess, Served>(entry, async process => {
    const answers = await process.calls.serve(options, queries)
    const bytes = process.pssBytes()
    return { bytes, answers, statistics: await process.calls.statistics(), disk: await process.calls.diskBytes() }
  })
}
