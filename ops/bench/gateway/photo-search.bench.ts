import { setTimeout as pause } from 'node:timers/promises'
import { defaultStageBudget } from '../../../query-gateway/stage-times.ts'
import type { FreshetClient } from '../../../schemas/client.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import { demoItems } from '../../demo-catalog.ts'
import { median, quantile } from '../figures.ts'
import { hardware, type Measure, measure, type Report } from '../report.ts'
import { note, publishAll, untilStatus, withServer } from '../scratch.ts'
import { randomBits } from '../shard/clustered-data.ts'
import type { GatewayBenchOptions } from './gateway-scene.ts'
import { Photos } from './photos.ts'

const k = 24
const seed = 1
const loadShare = 0.7
/** Enough to keep every process busy, and no more waiting than that needs. */
const inFlight = 6
/** The whole catalogue goes through the models; on a machine with other work to do that takes its time. */
const indexingWithinMs = 20 * 60_000
const lengths = {
  full: { items: Number.POSITIVE_INFINITY, maximumMs: 25_000, loadMs: 70_000 },
  quick: { items: 60, maximumMs: 8_000, loadMs: 15_000 },
  smoke: { items: 10, maximumMs: 1_000, loadMs: 1_000 },
} as const

/** Searches by photo at a share of what the machine can take, sent when they are due whatever became of the others. */
export async function photoSearchBench({ length }: GatewayBenchOptions): Promise<Report> {
  const { items: most, maximumMs, loadMs } = lengths[length]
  const items = demoItems().slice(0, most)
  return withServer({}, async (_server, client) => {
    await publishAll(client, items)
    await untilStatus(client, status => status.items.searchable === items.length, { withinMs: indexingWithinMs })
    const photos = new Photos()
    await closedLoop(client, photos, maximumMs / 5)
    const maximum = await closedLoop(client, photos, maximumMs)
    const rate = loadShare * maximum
    note(`at most ${maximum.toFixed(1)} searches/s; sending ${rate.toFixed(1)}/s for ${loadMs / 1_000} s`)
    const searches = await openLoop(client, photos, { rate, ms: loadMs })
    const times = searches.map(({ ms }) => ms)
    return {
      bench: 'photo-search',
      hardware: hardware(),
      data: `${photos.count} photos of rooms, each sent as a picture never seen before; catalogue of ${items.length} products; ${searches.length} arrivals at random (exponential pauses), time counts from when each was due; model processes, server and load on this machine`,
      seed,
      baseline: 'the budget of each stage, for production hardware: a target to be reported, not a limit',
      measures: [
        measure('search by photo, p95', quantile(times, 0.95), 'ms', { atMost: 250 }),
        measure('search by photo, p50', median(times), 'ms'),
        measure('search by photo, p99', quantile(times, 0.99), 'ms'),
        measure('measured maximum', maximum, 'searches/s'),
        measure('sent', rate, 'searches/s'),
        ...stageTable(searches.map(({ timing }) => timing)),
      ],
    }
  })
}

type Timing = SearchAnswer['timingMs']

function stageTable(timings: readonly Timing[]): readonly Measure[] {
  const { decode, detect, embed, shards, rank } = defaultStageBudget
  const stages = [
    ['decode', 'decode', decode],
    ['detect', 'detect', detect],
    ['embed', 'embed', embed],
    ['shards', 'fanout', shards],
    ['rank', 'rank', rank],
  ] as const
  const rows = stages.flatMap(([name, key, budgetMs]) =>
    [0.5, 0.95].map(share => {
      const label = `${name}, p${share * 100} (budget ${budgetMs} ms)`
      return measure(
        label,
        quantile(
          timings.map(timing => timing[key]),
          share,
        ),
        'ms',
      )
    }),
  )
  return [
    ...rows,
    measure(
      'in the server, p95',
      quantile(
        timings.map(({ total }) => total),
        0.95,
      ),
      'ms',
    ),
  ]
}

async function searchPhoto(client: FreshetClient, photo: Buffer): Promise<Timing> {
  const { degraded, timingMs } = await client.searchImage(photo, { k })
  if (degraded.length > 0) throw new Error(`degraded: ${degraded.join(', ')}`)
  return timingMs
}

/** Searches a second. */
async function closedLoop(client: FreshetClient, photos: Photos, ms: number): Promise<number> {
  const began = performance.now()
  let answered = 0
  const one = async (): Promise<void> => {
    while (performance.now() - began < ms) {
      await searchPhoto(client, photos.next())
      answered++
    }
  }
  await Promise.all(Array.from({ length: inFlight }, one))
  return (answered / (performance.now() - began)) * 1_000
}

interface TimedSearch {
  /** Since it was due. */
  readonly ms: number
  readonly timing: Timing
}

async function openLoop(
  client: FreshetClient,
  photos: Photos,
  { rate, ms }: { readonly rate: number; readonly ms: number },
): Promise<readonly TimedSearch[]> {
  const random = randomBits(seed)
  const began = performance.now()
  const sent: Promise<TimedSearch>[] = []
  let dueMs = 0
  for (;;) {
    dueMs += (-Math.log(1 - random() / 2 ** 32) / rate) * 1_000
    if (dueMs > ms) break
    const at = began + dueMs
    const waitMs = at - performance.now()
    if (waitMs > 0) await pause(waitMs)
    const search = searchPhoto(client, photos.next()).then(timing => ({ ms: performance.now() - at, timing }))
    // Looked at below; until then it is no unhandled one.
    search.catch(() => undefined)
    sent.push(search)
  }
  return Promise.all(sent)
}
