import { setTimeout as pause } from 'node:timers/promises'
import type { FreshetClient } from '../../../schemas/client.ts'
import type { Item } from '../../../schemas/http-items.ts'
import { pssBytes } from '../../testing/server-process.ts'
import { median, quantile } from '../figures.ts'
import { openWindow } from '../gateway/offered-load.ts'
import { Photos } from '../gateway/photos.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note, publishAll, untilStatus, withServer } from '../scratch.ts'
import {
  builtItems,
  type GenerationBenchOptions,
  old,
  proven,
  publishFurniture,
  reason,
  untilBuilt,
  young,
} from './generation-steps.ts'

const model = 'v2'
const lengths = {
  full: { pairs: 5, items: 820, photos: 1_400, windowMs: 10_000, switchMs: 6_000, rate: 4 },
  quick: { pairs: 2, items: 200, photos: 200, windowMs: 5_000, switchMs: 4_000, rate: 4 },
  smoke: { pairs: 1, items: 24, photos: 0, windowMs: 1_000, switchMs: 1_000, rate: 4 },
} as const

/** Search by photo, at a steady rate of arrivals, through a change from v1 to v2 and back. */
export async function modelChangeBench({ length }: GenerationBenchOptions): Promise<Report> {
  const { pairs, items: furniture, photos, windowMs, switchMs, rate } = lengths[length]
  const items = furniture + photos
  return withServer({}, async (server, client) => {
    await publishFurniture(client, furniture)
    await publishPhotos(client, photos)
    const searches = new PhotoSearches(client, rate)
    await searches.p95(windowMs)
    const rebuild = await duringRebuild({ client, searches, pairs, windowMs })
    await untilBuilt(client, items)
    await proven(client.verifyGeneration(young, { reason }))
    const pss = pssBytes(server.pid)
    const switching = await duringSwitches({ client, searches, pairs, windowMs: switchMs })
    return {
      bench: 'model-change',
      hardware: hardware(),
      data: `a server with ${furniture} of the bundled products and ${photos} photos as items of their own, live with v1, built anew with ${model}; searches by photo, each a new picture, ${rate}/s arriving at random, 24 results`,
      seed: searches.firstSeed,
      baseline: `the same server, the rebuild paused; then the seconds without a switch; ${pairs} interleaved pairs each`,
      measures: [
        measure('p95 during the rebuild / steady', medianRatio(rebuild), '', { atMost: 1.5 }),
        measure('p95 during the rebuild', median(rebuild.map(({ busy }) => busy)), 'ms'),
        measure('p95 steady', median(rebuild.map(({ steady }) => steady)), 'ms'),
        measure('p95 in the seconds of the switch / steady', medianRatio(switching.p95s), '', { atMost: 1.5 }),
        measure('searches that failed', searches.failed, ''),
        measure('undo: request to answer', median(switching.undoMs), 'ms'),
        measure('undo: request to the last answer of the new generation', Math.max(...switching.lastYoungMs), 'ms', {
          atMost: 1_000,
        }),
        measure('PSS of all processes, two generations', pss / 2 ** 20, 'MiB', { atMost: 1_400_000_000 / 2 ** 20 }),
      ],
    }
  })
}

/** More pictures, so that the rebuild lasts: those of rooms and other views, each with bytes of its own. */
async function publishPhotos(client: FreshetClient, count: number): Promise<void> {
  const photos = new Photos()
  const items: Item[] = []
  for (let number = 0; number < count; number++) {
    const { blob } = await client.putBlob(photos.next())
    items.push({ itemId: `photo-${number}`, title: `Photo ${number}`, category: 'photo', images: [blob] })
  }
  const { items: before } = await client.status()
  await publishAll(client, items)
  await untilStatus(client, status => status.items.searchable === before.searchable + count, { withinMs: 900_000 })
}

/** What was handed out before a pause is built. */
async function untilStill(client: FreshetClient): Promise<void> {
  for (let before = -1, now = await builtItems(client); now !== before; ) {
    await pause(2_000)
    before = now
    now = await builtItems(client)
  }
}

interface PairOfP95 {
  readonly busy: number
  readonly steady: number
}

interface Windows {
  readonly client: FreshetClient
  readonly searches: PhotoSearches
  readonly pairs: number
  readonly windowMs: number
}

async function duringRebuild({ client, searches, pairs, windowMs }: Windows): Promise<readonly PairOfP95[]> {
  const p95s: PairOfP95[] = []
  await client.buildGeneration({ model, generation: young, reason })
  while ((await builtItems(client)) === 0) await pause(250)
  for (let pair = 1; pair <= pairs; pair++) {
    const before = await builtItems(client)
    const busy = await searches.p95(windowMs)
    const built = (await builtItems(client)) - before
    await client.pauseGeneration(young, { reason })
    await untilStill(client)
    const steady = await searches.p95(windowMs)
    await client.resumeGeneration(young, { reason })
    note(`pair ${pair}: ${busy.toFixed(0)} ms while ${built} items were built, ${steady.toFixed(0)} ms while paused`)
    p95s.push({ busy, steady })
  }
  return p95s
}

/** To the new generation and back, in turn; each with a window of the same length in which nothing changes. */
async function duringSwitches({ client, searches, pairs, windowMs }: Windows) {
  const p95s: PairOfP95[] = []
  const undoMs: number[] = []
  const lastYoungMs: number[] = []
  for (let pair = 1; pair <= pairs; pair++) {
    const steady = await searches.p95(windowMs)
    const busy = await searches.p95(windowMs, async () => {
      await pause(windowMs / 3)
      await client.routeGeneration(young, {
        share: 1,
        reason,
        override: 'photos that are many times there are no catalogue to try a model with',
      })
      await pause(windowMs / 3)
      const askedMs = performance.now()
      await client.rollbackGeneration(young, { to: old, reason })
      undoMs.push(performance.now() - askedMs)
      searches.undoneAtMs = askedMs
    })
    lastYoungMs.push(searches.lastYoungMs())
    note(`pair ${pair}: ${busy.toFixed(0)} ms with a switch and an undo, ${steady.toFixed(0)} ms without`)
    p95s.push({ busy, steady })
  }
  return { p95s, undoMs, lastYoungMs }
}

const medianRatio = (pairs: readonly PairOfP95[]): number => median(pairs.map(({ busy, steady }) => busy / steady))

class PhotoSearches {
  readonly firstSeed = 1
  failed = 0
  undoneAtMs = 0
  readonly #client: FreshetClient
  readonly #rate: number
  readonly #photos = new Photos()
  readonly #begunByYoung: number[] = []
  #seed = this.firstSeed

  constructor(client: FreshetClient, rate: number) {
    this.#client = client
    this.#rate = rate
  }

  /** From when a search was due to its answer, ms. `meanwhile` goes on beside it. */
  async p95(ms: number, meanwhile: () => Promise<void> = async () => {}): Promise<number> {
    const window = openWindow(() => this.#search(), { rate: this.#rate, ms, seed: this.#seed++ })
    const [{ sent }] = await Promise.all([window, meanwhile()])
    this.failed += sent.filter(({ status }) => status !== 200).length
    return quantile(
      sent.map(({ tookMs }) => tookMs),
      0.95,
    )
  }

  /** How long after the undo was asked for the last search began that the new generation answered; 0: before it. */
  lastYoungMs(): number {
    return Math.max(0, ...this.#begunByYoung.map(atMs => atMs - this.undoneAtMs))
  }

  async #search(): Promise<number> {
    const atMs = performance.now()
    try {
      const { generation } = await this.#client.searchImage(this.#photos.next(), {}, { attempts: 1 })
      if (generation === young) this.#begunByYoung.push(atMs)
      return 200
    } catch {
      return 0
    }
  }
}
