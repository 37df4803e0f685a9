import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type IndexTuning, tuningOf } from '../../../shard-node/segments/index-tuning.ts'
import type { IndexStatistics } from '../../../shard-node/vector-index.ts'
import { withScratch } from '../scratch.ts'
import { type BareIndexFile, BareUsearch, buildBareUsearch, exactNeighbours } from './bare-usearch.ts'
import { BenchIndex, type LiveRows } from './bench-index.ts'
import { ClusteredData } from './clustered-data.ts'
import { type Answers, type Calibration, recallOf, smallestEffort } from './recall.ts'
import { type QuerySet, queryAt, type Search } from './search-load.ts'
import type { ShardBenchOptions } from './shard-bench-options.ts'

export const dims = 256
export const k = 10
/** Speeds are compared at this recall@10. */
export const recallFloor = 0.99
/** Queries that wait for an answer at a time, per search thread, where the engine's throughput is measured. */
export const inFlightPerThread = 8

const queryCounts = { full: 500, quick: 100, smoke: 20 } as const

/** What every shard bench starts from. */
export interface Scene {
  readonly options: ShardBenchOptions
  readonly data: ClusteredData
  readonly queries: QuerySet
  /** Gone after the bench. */
  readonly directory: string
}

export async function withScene<T>(options: ShardBenchOptions, body: (scene: Scene) => Promise<T>): Promise<T> {
  return withScratch(async directory => {
    const data = new ClusteredData({ seed: options.seed, dims })
    return body({ options, data, queries: querySet(data, queryCounts[options.length]), directory })
  })
}

export function querySet(data: ClusteredData, count: number): QuerySet {
  return { vectors: data.block(0, count, 'queries').vectors, dims: data.dims, count }
}

export function dataText({ rows, seed }: ShardBenchOptions): string {
  return `${rows.toLocaleString('en')} × ${dims} unit vectors of ${ClusteredData.clusters.toLocaleString('en')} unequal Gaussian clusters in 32 dimensions, projected, with noise (seed ${seed}); queries by the same law; k = ${k}`
}

/** The product's own tuning; with fewer rows than it is made for, segments shrink so that the layout stays the same. */
export function tuningFor(
  rows: number,
  kind: IndexTuning['kind'] = 'standard',
): Pick<IndexTuning, 'kind' | 'logRows' | 'graphRows'> {
  const usual = tuningOf(kind)
  const logRows = Math.min(usual.logRows, 2 ** Math.floor(Math.log2(rows / 12)))
  return { kind, logRows, graphRows: (usual.graphRows / usual.logRows) * logRows }
}

/** An index in a new folder of the scene; left as it has been arranged while nothing changes. */
export async function openIndex(
  scene: Scene,
  {
    name,
    capacity,
    tuning = {},
  }: {
    readonly name: string
    readonly capacity: number
    readonly tuning?: Partial<IndexTuning>
  },
): Promise<BenchIndex> {
  const directory = join(scene.directory, name)
  mkdirSync(directory, { recursive: true })
  const { rows, seed } = scene.options
  const held = { calmMs: Number.POSITIVE_INFINITY, ...tuningFor(rows), ...tuning }
  return BenchIndex.open({ directory, dims, seed, capacity, tuning: held })
}

/** The bare library's index of the first rows of the data set. */
export function buildBare({ data, directory, options }: Scene): BareIndexFile {
  return buildBareUsearch(data.block(0, options.rows).vectors, { path: join(directory, 'bare.usearch'), dims })
}

/** The bare library at the smallest expansion that reaches the floor. */
export async function calibrateBare(
  { data, queries, options }: Scene,
  file: BareIndexFile,
): Promise<{ readonly bare: BareUsearch; readonly recall: number }> {
  const truth = exactNeighbours(data.block(0, options.rows).vectors, queries.vectors, { dims, k })
  const { effort, recall } = await smallestEffort(expansion => {
    const bare = new BareUsearch(file, expansion)
    return recallOf(
      truth.map((_, i) => bare.search(queryAt(queries, i), k)),
      truth,
    )
  }, recallFloor)
  return { bare: new BareUsearch(file, effort), recall }
}

/** The items that each query should find, by comparing with the vector of every item. */
export function truthOf({ data, queries }: Scene, { items, rows }: LiveRows): Answers {
  return exactNeighbours(data.rows(rows).vectors, queries.vectors, { dims, k }).map(found =>
    found.map(place => items[place]!),
  )
}

export async function answersOf(index: BenchIndex, queries: QuerySet): Promise<Answers> {
  const answers: Uint32Array[] = []
  for (let i = 0; i < queries.count; i++) {
    const { hits } = await index.search(queryAt(queries, i), k)
    answers.push(Uint32Array.from(hits, ({ item }) => item))
  }
  return answers
}

/** Sets the smallest effort at which the index reaches the floor over what it holds now. */
export async function calibrate(scene: Scene, index: BenchIndex): Promise<Calibration> {
  const truth = truthOf(scene, index.liveRows())
  const calibration = await smallestEffort(async effort => {
    index.index.setEffort(effort)
    return recallOf(await answersOf(index, scene.queries), truth)
  }, recallFloor)
  index.index.setEffort(calibration.effort)
  return calibration
}

export const searchOf =
  (index: BenchIndex): Search =>
  query =>
    index.search(query, k)

export const searchOfBare =
  (bare: BareUsearch): Search =>
  query =>
    bare.search(query, k)

export function layoutText({ rows, tombstones, graphs, segments, scannedRows }: IndexStatistics): string {
  return `${rows} rows, ${tombstones} tombstones, ${segments} segments, ${graphs} with graphs, ${scannedRows} rows scanned`
}
