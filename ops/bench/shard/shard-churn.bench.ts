import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { standardTuning } from '../../../shard-node/segments/index-tuning.ts'
import { median } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { MeasuredProcess } from './child-calls.ts'
import type { NodeProcess } from './node-child.ts'
import { recallOf } from './recall.ts'
import { dataText, dims, inFlightPerThread, type Scene, truthOf, tuningFor, withScene } from './scene.ts'
import { interleaved, type Pairs } from './search-load.ts'
import type { ShardBenchOptions } from './shard-bench-options.ts'

const entry = fileURLToPath(new URL('./node-child.ts', import.meta.url))
const rounds = 3
const replacementsPerSecond = 2_000

type Shard = MeasuredProcess<NodeProcess>

/** Every vector replaced three times, against a shard that got the last ones only. */
export async function shardChurnBench(options: ShardBenchOptions): Promise<Report> {
  return withScene(options, async scene => {
    const [churned, fresh] = [new MeasuredProcess<NodeProcess>(entry), new MeasuredProcess<NodeProcess>(entry)]
    try {
      const { quietMs } = sizesOf[options.length]
      const empty = { churned: await opened(scene, churned, 'churned'), fresh: await opened(scene, fresh, 'fresh') }
      await fresh.calls.upsert(options.rows)
      await fresh.calls.settled(quietMs)
      const live = await fresh.calls.diskBytes()
      await churned.calls.upsert(options.rows)
      await churned.calls.settled(quietMs)
      const worstDisk = await replaceAll(churned, options)
      const settledSeconds = await churned.calls.settled(quietMs)
      const speed = await compared(churned, fresh, options)
      const recall = await recallsOf(scene, churned, fresh)
      const memory = { churned: memoryBytes(churned) - empty.churned, fresh: memoryBytes(fresh) - empty.fresh }
      const { tombstones, rows, segments, storage } = await churned.calls.status()
      const { storage: freshStorage, segments: freshSegments } = await fresh.calls.status()
      return {
        bench: 'shard-churn',
        hardware: hardware(),
        data: `${dataText(options)}; every item replaced ${rounds} times in changing orders at ${replacementsPerSecond}/s through the log, nothing done by hand`,
        seed: options.seed,
        baseline:
          'a shard that got as many items once, in another process, settled; searches with the default threads and effort, median of interleaved pairs; memory is PSS less that of the process with an empty shard and less its log',
        measures: [
          measure('recall@10 / fresh', recall.churned / recall.fresh, '', { atLeast: 0.99 }),
          measure('recall@10, churned', recall.churned, ''),
          measure('queries / fresh, once settled', speed.ratio, '', { atLeast: 0.8 }),
          measure('queries, churned', median(speed.first), '1/s'),
          measure('queries, fresh', median(speed.second), '1/s'),
          measure('settled after', settledSeconds, 's'),
          measure('disk at its worst / live', worstDisk / live, '', { atMost: 2.2 }),
          measure('disk once settled / live', (await churned.calls.diskBytes()) / live, ''),
          measure('live', live / options.rows, 'B/vector'),
          measure('memory / fresh', memory.churned / memory.fresh, '', { atMost: 1.3 }),
          measure('memory, churned', memory.churned / options.rows, 'B/item'),
          measure('memory, fresh', memory.fresh / options.rows, 'B/item'),
          measure('tombstones / rows once settled', tombstones / (rows + tombstones), ''),
          measure('segments once settled, churned', segments, ''),
          measure('segments once settled, fresh', freshSegments, ''),
          measure('rows scanned once settled, churned', storage.scannedRows, ''),
          measure('rows scanned once settled, fresh', freshStorage.scannedRows, ''),
        ],
      }
    } finally {
      await Promise.all([churned.close(), fresh.close()])
    }
  })
}

/**
 * Quiet for longer than it takes until the shard has noticed the calm and merged because of it, and longer than
 * checkpoints are apart, which are what gives disk back.
 */
const sizesOf = {
  full: { pairs: 7, windowMs: 3_000, checkpointEveryMs: 10_000, calmMs: standardTuning.calmMs, quietMs: 90_000 },
  quick: { pairs: 5, windowMs: 300, checkpointEveryMs: 1_000, calmMs: 1_000, quietMs: 4_000 },
  smoke: { pairs: 1, windowMs: 20, checkpointEveryMs: 200, calmMs: 200, quietMs: 800 },
} as const

/** Opens an empty shard. Returns its memory. */
async function opened({ options, directory }: Scene, shard: Shard, name: string): Promise<number> {
  const { rows, seed } = options
  const { checkpointEveryMs, calmMs } = sizesOf[options.length]
  await shard.calls.open({
    directory: join(directory, name),
    dims,
    seed,
    items: rows,
    order: 'replace-all',
    firstUpsert: 0,
    tuning: { checkpointEveryMs, recall: null, index: { ...tuningFor(rows), calmMs } },
  })
  await shard.calls.settled(0)
  return memoryBytes(shard)
}

/** Without the log, which a shard does not own. */
function memoryBytes(shard: Shard): number {
  return shard.pssBytes() - shard.pssOfFileBytes('data.mdb')
}

/** Returns the most disk that was taken meanwhile. */
async function replaceAll(churned: Shard, { rows }: ShardBenchOptions): Promise<number> {
  const until = rows * (rounds + 1)
  let worst = 0
  await churned.calls.startUpserts(replacementsPerSecond)
  for (let noted = 1; ; ) {
    await delay(250)
    worst = Math.max(worst, await churned.calls.diskBytes())
    const done = await churned.calls.acknowledged()
    if (done >= until) break
    if (done >= rows * (noted + 1)) note(`replaced ${noted++} times`)
  }
  await churned.calls.stopUpserts()
  await churned.calls.caughtUp()
  return worst
}

async function compared(churned: Shard, fresh: Shard, options: ShardBenchOptions): Promise<Pairs> {
  const window = { ms: sizesOf[options.length].windowMs, inFlight: 2 * inFlightPerThread }
  return interleaved(
    sizesOf[options.length].pairs,
    async () => (await churned.calls.window(window)).qps,
    async () => (await fresh.calls.window(window)).qps,
  )
}

async function recallsOf(scene: Scene, churned: Shard, fresh: Shard) {
  const of = async (shard: Shard): Promise<number> =>
    recallOf(await shard.calls.answers(scene.queries.count), truthOf(scene, await shard.calls.liveRows()))
  return { churned: await of(churned), fresh: await of(fresh) }
}
