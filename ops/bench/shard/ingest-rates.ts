import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { IndexStatistics } from '../../../shard-node/vector-index.ts'
import { type Measure, measure } from '../report.ts'
import { note } from '../scratch.ts'
import { BenchNode, type BenchNodeOptions } from './bench-node.ts'
import { MutationLog } from './mutation-log.ts'
import { paced } from './paced.ts'
import { dims, k, layoutText, openIndex, type Scene, tuningFor } from './scene.ts'
import type { BenchLength } from './shard-bench-options.ts'

interface Pace {
  readonly perSecond: number
  readonly seconds: number
}

/** As a shard would; it also removes the files of segments that were merged. */
const checkpointEverySeconds = 30

const pacesOf: Readonly<Record<BenchLength, readonly Pace[]>> = {
  full: [
    { perSecond: 1_000, seconds: 600 },
    { perSecond: 2_000, seconds: 120 },
  ],
  quick: [
    { perSecond: 1_000, seconds: 6 },
    { perSecond: 2_000, seconds: 4 },
  ],
  smoke: [{ perSecond: 1_000, seconds: 1 }],
}

/** Mutations a second that are taken while nobody searches: for a moment and for long. */
export async function ingestMeasures(scene: Scene): Promise<readonly Measure[]> {
  const measures = [...(await acceptedByIndex(scene)), ...(await acceptedByNode(scene))]
  for (const pace of pacesOf[scene.options.length]) measures.push(...(await sustained(scene, pace)))
  return measures
}

/** Sets put, half of them replacements, as fast as they are taken. */
async function acceptedByIndex(scene: Scene): Promise<readonly Measure[]> {
  const { rows } = scene.options
  const index = await openIndex(scene, { name: 'accepting', capacity: 2 * rows })
  await index.fill(Math.floor(rows / 2))
  await index.index.settled()
  const puts = Math.floor(rows / 2)
  index.prepare(puts)
  const began = performance.now()
  for (let put = 1; put <= puts; put++) {
    index.mutate()
    if (put % 500 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  const perSecond = puts / ((performance.now() - began) / 1_000)
  await index.close()
  return [measure('accepted by the index, nobody searching', perSecond, '1/s', { atLeast: 20_000 })]
}

/** A new replica reads a log that is there: attributes and objects of every item, two mutations each. */
async function acceptedByNode(scene: Scene): Promise<readonly Measure[]> {
  const { rows, seed } = scene.options
  const directory = join(scene.directory, 'accepting-node')
  mkdirSync(directory)
  const options: BenchNodeOptions = {
    directory,
    dims,
    seed,
    items: rows,
    order: 'half-new',
    firstUpsert: 0,
    tuning: { recall: null, checkpointEveryMs: null, index: tuningFor(rows) },
  }
  const log = await MutationLog.open(options)
  await log.upsert(rows)
  await log.close()
  const began = performance.now()
  const node = await BenchNode.open({ ...options, firstUpsert: rows })
  const seconds = (performance.now() - began) / 1_000
  await node.close()
  return [
    measure('accepted by a shard from its log, nobody searching', (2 * rows) / seconds, 'mutations/s', {
      atLeast: 20_000,
    }),
    measure('accepted by a shard from its log: vectors', rows / seconds, '1/s'),
  ]
}

/** Upserts at a steady pace on top of the settled rows; every second the layout is noted and the newest row sought. */
async function sustained(scene: Scene, { perSecond, seconds }: Pace): Promise<readonly Measure[]> {
  const { rows } = scene.options
  const index = await openIndex(scene, { name: `sustained-${perSecond}`, capacity: rows + perSecond * (seconds + 5) })
  await index.fill(rows)
  await index.index.settled()
  const layouts: IndexStatistics[] = [index.statistics()]
  let notFound = 0
  const mutations = paced(perSecond, () => index.mutate())
  for (let second = 0; second < seconds; second++) {
    await delay(1_000)
    layouts.push(index.statistics())
    const item = index.mutate()
    const { hits } = await index.search(index.index.vectorOf(item, 0)!, k)
    if (!hits.some(hit => hit.item === item)) notFound++
    if (second % checkpointEverySeconds === checkpointEverySeconds - 1) await index.checkpoint()
    if (second % 60 === 59) note(`${perSecond}/s for ${second + 1} s: ${layoutText(layouts.at(-1)!)}`)
  }
  mutations.stop()
  const unsealed = { before: layouts[0]!.scannedRows, after: index.statistics().scannedRows }
  const began = performance.now()
  await index.index.settled()
  const settledSeconds = (performance.now() - began) / 1_000
  await index.close()
  const name = `${perSecond}/s for ${seconds} s`
  const most = (of: 'graphs' | 'segments' | 'scannedRows'): number => Math.max(...layouts.map(layout => layout[of]))
  return [
    measure(`${name}: applied / due`, mutations.done / mutations.due, '', { atLeast: 0.99 }),
    measure(`${name}: most graphs`, most('graphs'), '', { atMost: 6 }),
    measure(`${name}: most segments`, most('segments'), ''),
    measure(`${name}: most rows scanned`, most('scannedRows'), ''),
    measure(`${name}: sealed when it ended / put`, 1 - (unsealed.after - unsealed.before) / mutations.done, '', {
      atLeast: 0.5,
    }),
    measure(`${name}: newest items not found at once`, notFound, '', { atMost: 0 }),
    measure(`${name}: settled after the end`, settledSeconds, 's'),
  ]
}
