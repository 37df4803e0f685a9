import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { quantile } from '../figures.ts'
import { type Measure, measure } from '../report.ts'
import { note, withScratch } from '../scratch.ts'
import { exactNeighbours } from './bare-usearch.ts'
import { type MeasuredProcess, withProcess } from './child-calls.ts'
import { ClusteredData } from './clustered-data.ts'
import type { PeerProcess, PeerSpeed, PeerTask } from './peer-child.ts'
import { folderOf, type PeerName, packageOf } from './peer-engines.ts'
import { installPeers, peerMissing } from './peer-install.ts'
import type { Answers } from './recall.ts'
import { dims, k, querySet } from './scene.ts'
import type { ShardBenchOptions } from './shard-bench-options.ts'

const queryCounts = { full: 300, quick: 100, smoke: 20 } as const
const servedMs = { full: 5_000, quick: 500, smoke: 20 } as const
const entry = fileURLToPath(new URL('./peer-child.ts', import.meta.url))

/** The table of engines. */
export interface PeerTable {
  readonly measures: readonly Measure[]
  /** Of each engine that could not be run: why. */
  readonly missing: readonly string[]
}

/**
 * Engines at equal recall, each built in one process and served by another, with one client: vectors/s to all
 * indexed, queries/s, tail, memory and disk.
 */
export async function peerTable(options: ShardBenchOptions, names: readonly PeerName[]): Promise<PeerTable> {
  installPeers(names.flatMap(name => packageOf[name] ?? []))
  const data = new ClusteredData({ seed: options.seed, dims })
  const queries = querySet(data, queryCounts[options.length])
  const truth = exactNeighbours(data.block(0, options.rows).vectors, queries.vectors, { dims, k })
  const measures: Measure[] = []
  const missing: string[] = []
  for (const name of names) {
    const reason = packageOf[name] === null ? null : peerMissing(packageOf[name])
    if (reason === null) measures.push(...(await measuresOf(name, options, truth)))
    else missing.push(`${name} is not available: ${reason}`)
  }
  return { measures, missing }
}

async function measuresOf(name: PeerName, options: ShardBenchOptions, truth: Answers): Promise<readonly Measure[]> {
  return withScratch(async scratch => {
    const directory = folderOf(scratch, name)
    const { rows, seed } = options
    const task: PeerTask = { name, directory, rows, seed, dims, queries: truth.length }
    const buildSeconds = await withProcess<PeerProcess, number>(entry, process => process.calls.build(task))
    const { speed, memoryBytes } = await withProcess<PeerProcess, Served>(entry, process =>
      served(process, task, options, truth),
    )
    const { qps, latenciesMs, effort, recall } = speed
    note(`${name}: effort ${effort}, recall ${recall.toFixed(4)}, ${qps.toFixed(0)} queries/s`)
    return [
      measure(`${name}: vectors to indexed`, rows / buildSeconds, '1/s'),
      measure(`${name}: recall@10`, recall, ''),
      measure(`${name}: queries, one client`, qps, '1/s'),
      measure(`${name}: p50`, quantile(latenciesMs, 0.5), 'ms'),
      measure(`${name}: p99`, quantile(latenciesMs, 0.99), 'ms'),
      measure(`${name}: serving memory`, memoryBytes / rows, 'B/vector'),
      measure(`${name}: disk`, fileBytes(directory) / rows, 'B/vector'),
    ]
  })
}

interface Served {
  readonly speed: PeerSpeed
  readonly memoryBytes: number
}

async function served(
  process: MeasuredProcess<PeerProcess>,
  task: PeerTask,
  { length }: ShardBenchOptions,
  truth: Answers,
): Promise<Served> {
  await process.calls.idle(task.name)
  const before = process.pssBytes()
  const speed = await process.calls.serve(task, truth, servedMs[length])
  return { speed, memoryBytes: process.pssBytes() - before }
}

/** Of all files below; the bench's own notes among an engine's files are not counted. */
function fileBytes(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter(name => !name.endsWith('bench-saved.json'))
    .map(name => lstatSync(join(directory, name)))
    .reduce((total, entry) => total + (entry.isFile() ? entry.blocks * 512 : 0), 0)
}
