import type { AllowedBits } from '../../../shard-node/vector-index.ts'
import { median } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { exactNeighbours } from './bare-usearch.ts'
import type { BenchIndex } from './bench-index.ts'
import { ClusteredData, randomBits } from './clustered-data.ts'
import { recallOf } from './recall.ts'
import { dataText, dims, inFlightPerThread, k, layoutText, openIndex, type Scene, withScene } from './scene.ts'
import { interleaved, queryAt, searchWindow } from './search-load.ts'
import type { ShardBenchOptions } from './shard-bench-options.ts'

const sizesOf = {
  full: { pairs: 5, windowMs: 1_000 },
  quick: { pairs: 5, windowMs: 100 },
  smoke: { pairs: 1, windowMs: 10 },
} as const
const shares = [0.5, 0.1, 0.01, 0.001] as const
const kinds = ['random', 'correlated'] as const

/** The least that a filter may leave of the speed of an unfiltered search: `seldom` at the narrowest band. */
const goals = { recall: 0.98, speed: 0.3, seldom: 1 } as const

/** Recall and speed of filtered searches by how much is allowed, at random and by whole clusters. */
export async function shardFilterBench(options: ShardBenchOptions): Promise<Report> {
  return withScene(options, async scene => {
    const index = await openIndex(scene, { name: 'filter', capacity: options.rows, tuning: { threads: 1 } })
    await index.fill(options.rows)
    await index.index.compact(true)
    note(layoutText(index.statistics()))
    const measures: Measure[] = []
    for (const kind of kinds)
      for (const share of shares) measures.push(...(await bandMeasures(scene, index, { kind, share })))
    await index.close()
    return {
      bench: 'shard-filter',
      hardware: hardware(),
      data: `${dataText(options)}; one sealed segment; filters allow 50%, 10%, 1% and 0.1% of the items, at random or as whole clusters with queries anywhere; ${scene.queries.count} queries`,
      seed: options.seed,
      baseline: `the same index without a filter, at the same effort (${index.index.effort}); one search thread, ${inFlightPerThread} queries in flight; median of ${sizesOf[options.length].pairs} interleaved pairs. Recall against an exact search of the allowed items`,
      measures,
    }
  })
}

interface Band {
  readonly kind: (typeof kinds)[number]
  readonly share: number
}

async function bandMeasures(scene: Scene, index: BenchIndex, band: Band): Promise<readonly Measure[]> {
  const { options, queries } = scene
  const items = allowedItems(scene, band)
  const allowed = bitsOf(items, options.rows)
  const truth = exactNeighbours(scene.data.rows(items).vectors, queries.vectors, { dims, k }).map(found =>
    found.map(place => items[place]!),
  )
  const answers: Uint32Array[] = []
  for (let i = 0; i < queries.count; i++) {
    const { hits } = await index.search(queryAt(queries, i), k, allowed)
    answers.push(Uint32Array.from(hits, ({ item }) => item))
  }
  const recall = recallOf(answers, truth)
  const { pairs, windowMs } = sizesOf[options.length]
  const window = { ms: windowMs, inFlight: inFlightPerThread }
  const { first, ratio } = await interleaved(
    pairs,
    async () => (await searchWindow(query => index.search(query, k, allowed), queries, window)).qps,
    async () => (await searchWindow(query => index.search(query, k), queries, window)).qps,
  )
  const name = `${band.kind} ${band.share * 100}%`
  const { plan } = await index.search(queryAt(queries, 0), k, allowed)
  note(`${name}: plan ${plan.kind}, recall ${recall.toFixed(4)}, ${ratio.toFixed(2)} of the unfiltered speed`)
  return [
    measure(`${name}: recall@10`, recall, '', { atLeast: goals.recall }),
    measure(`${name}: queries / unfiltered`, ratio, '', { atLeast: band.share <= 0.001 ? goals.seldom : goals.speed }),
    measure(`${name}: queries`, median(first), '1/s'),
    measure(`${name}: short answers`, answers.filter((found, i) => found.length < truth[i]!.length).length, '', {
      atMost: 0,
    }),
  ]
}

/** Items in order; an item's number is that of its row. */
function allowedItems({ data, options }: Scene, { kind, share }: Band): Uint32Array {
  const random = randomBits(options.seed + 1)
  const all = Uint32Array.from({ length: options.rows }, (_, item) => item)
  if (kind === 'random') return all.filter(() => random() < share * 2 ** 32)
  const { clusters } = data.block(0, options.rows)
  const sizes = new Uint32Array(ClusteredData.clusters)
  for (const cluster of clusters) sizes[cluster]!++
  const chosen = new Set<number>()
  const wanted = share * options.rows
  for (let count = 0, tries = 0; count < 0.9 * wanted && tries < 100_000; tries++) {
    const cluster = random() % ClusteredData.clusters
    if (chosen.has(cluster) || count + sizes[cluster]! > 1.1 * wanted) continue
    chosen.add(cluster)
    count += sizes[cluster]!
  }
  return all.filter(item => chosen.has(clusters[item]!))
}

function bitsOf(items: Uint32Array, limit: number): AllowedBits {
  const bytes = 4 * Math.ceil(limit / 32)
  const bits = new Uint32Array(new SharedArrayBuffer(bytes, { maxByteLength: bytes }))
  for (const item of items) bits[item >>> 5]! |= 1 << (item & 31)
  return { bits, count: items.length }
}
