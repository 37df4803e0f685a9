import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'
import type { SavedFile, SavedSegment } from '../../../shard-node/segments/segment.ts'
import { median, quantile } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { BareUsearch } from './bare-usearch.ts'
import type { BenchNodeOptions } from './bench-node.ts'
import { MeasuredProcess } from './child-calls.ts'
import { randomBits } from './clustered-data.ts'
import type { NodeProcess } from './node-child.ts'
import { dataText, dims, k, openIndex, type Scene, tuningFor, withScene } from './scene.ts'
import { interleaved, medianRatio, queryAt } from './search-load.ts'
import type { BenchLength, ShardBenchOptions } from './shard-bench-options.ts'

const entry = fileURLToPath(new URL('./node-child.ts', import.meta.url))
const upsertsPerSecond = 500
/** Of the latest acknowledged upserts, looked for after each kill. */
const lookedFor = 200

interface Sizes {
  readonly kills: number
  readonly checkpointEveryMs: number
  readonly openPairs: number
}

const sizesOf: Readonly<Record<BenchLength, Sizes>> = {
  full: { kills: 20, checkpointEveryMs: 5_000, openPairs: 7 },
  quick: { kills: 4, checkpointEveryMs: 1_000, openPairs: 5 },
  smoke: { kills: 1, checkpointEveryMs: 200, openPairs: 1 },
}

/** `kill -9` of a serving shard until it answers whole again; and opening a sealed segment against the bare library. */
export async function shardRecoveryBench(options: ShardBenchOptions): Promise<Report> {
  const sizes = sizesOf[options.length]
  const { kills, checkpointEveryMs, openPairs } = sizes
  return withScene(options, async scene => {
    const recovery = await killRepeatedly(scene, sizes)
    return {
      bench: 'shard-recovery',
      hardware: hardware(),
      data: `${dataText(options)}; a shard node and its log in one process, ${upsertsPerSecond} upserts/s (half new, half replacements), a checkpoint every ${checkpointEveryMs / 1_000} s, killed ${kills} times at random moments; a segment of ${options.rows} rows opened ${openPairs} times`,
      seed: options.seed,
      baseline:
        'recovery: its own median. Opening: CRC-32 of the same files, read in pieces, and view() of the graph by the bare library, warm page cache',
      measures: [...recovery, ...(await openingMeasures(scene, openPairs))],
    }
  })
}

async function killRepeatedly(scene: Scene, { kills, checkpointEveryMs }: Sizes): Promise<readonly Measure[]> {
  const { rows, seed } = scene.options
  const random = randomBits(seed)
  const nodeOptions: BenchNodeOptions = {
    directory: join(scene.directory, 'node'),
    dims,
    seed,
    items: rows,
    order: 'half-new',
    firstUpsert: 0,
    tuning: { checkpointEveryMs, index: tuningFor(rows) },
  }
  const seconds: number[] = []
  let missing = 0
  let node = new MeasuredProcess<NodeProcess>(entry)
  try {
    await node.calls.open(nodeOptions)
    await node.calls.upsert(rows)
    await node.calls.settled(2 * checkpointEveryMs)
    for (let kill = 1, firstUpsert = rows; kill <= kills; kill++) {
      await node.calls.startUpserts(upsertsPerSecond)
      await delay(random() % (2 * checkpointEveryMs))
      const acknowledged = await node.calls.acknowledged()
      await node.kill()
      const began = performance.now()
      node = new MeasuredProcess<NodeProcess>(entry)
      const latest = Math.max(firstUpsert, acknowledged - lookedFor)
      // Upserts that were on their way when the process died keep their numbers.
      firstUpsert = acknowledged + 10 * upsertsPerSecond
      await node.calls.open({ ...nodeOptions, firstUpsert })
      seconds.push((performance.now() - began) / 1_000)
      missing += await node.calls.missing(Array.from({ length: acknowledged - latest }, (_, i) => latest + i))
      note(`kill ${kill} of ${kills}: whole again after ${seconds.at(-1)!.toFixed(2)} s`)
    }
  } finally {
    await node.kill()
  }
  return [
    measure('kill -9 to full coverage: p90 / median', quantile(seconds, 0.9) / median(seconds), '', { atMost: 2 }),
    measure('kill -9 to full coverage: median', median(seconds), 's'),
    measure('kill -9 to full coverage: p90', quantile(seconds, 0.9), 's'),
    measure('kill -9 to full coverage: worst', Math.max(...seconds), 's'),
    measure('acknowledged upserts missing after a kill', missing, '', { atMost: 0 }),
  ]
}

/**
 * Opening is measured to the first answer. What an empty index takes (its threads have to start whatever they will
 * view) is measured in turn with it and taken off: the goal is on the segment.
 */
async function openingMeasures(scene: Scene, pairs: number): Promise<readonly Measure[]> {
  const { rows } = scene.options
  const query = queryAt(scene.queries, 0)
  const index = await openIndex(scene, { name: 'opened', capacity: rows })
  await index.fill(rows)
  await index.index.compact(true)
  const segments = await index.reclaim()
  await index.close()
  const openMs = async (name: string): Promise<number> => {
    const opened = await openIndex(scene, { name, capacity: rows })
    const asked = performance.now()
    await opened.search(query, k)
    const ms = opened.openMs + performance.now() - asked
    await opened.close()
    return ms
  }
  const bareMs = async (): Promise<number> => {
    const began = performance.now()
    checkAndView(join(scene.directory, 'opened'), segments, query)
    return performance.now() - began
  }
  const empty: number[] = []
  const { first, second } = await interleaved(
    pairs,
    async () => {
      empty.push(await openMs('empty'))
      return openMs('opened')
    },
    bareMs,
  )
  const segment = first.map((ms, i) => ms - empty[i]!)
  return [
    measure('opening a sealed segment / bare check and view', medianRatio(segment, second), '', { atMost: 1.5 }),
    measure('opening an index of one segment / bare check and view', medianRatio(first, second), ''),
    measure('opening an index of one segment', median(first), 'ms'),
    measure('opening an empty index', median(empty), 'ms'),
    measure('bare check and view', median(second), 'ms'),
  ]
}

const pieceBytes = 1 << 20

/** What the bare library's user would do: check every file, view the graphs, ask once. */
function checkAndView(directory: string, segments: readonly SavedSegment[], query: Float32Array): void {
  for (const { rows, graph } of segments) {
    for (const saved of graph === null ? [rows] : [rows, graph]) checkFile(directory, saved)
    if (graph !== null) new BareUsearch({ path: join(directory, graph.file), dims }, 16).search(query, k)
  }
}

function checkFile(directory: string, { file, crc32: expected }: SavedFile): void {
  const piece = Buffer.allocUnsafe(pieceBytes)
  const descriptor = openSync(join(directory, file), 'r')
  let sum = 0
  for (let read = readSync(descriptor, piece); read > 0; read = readSync(descriptor, piece))
    sum = crc32(piece.subarray(0, read), sum)
  closeSync(descriptor)
  if (sum !== expected) throw new Error(`${file} is damaged`)
}
