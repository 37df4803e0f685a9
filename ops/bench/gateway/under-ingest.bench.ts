import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { FreshetClient } from '../../../schemas/client.ts'
import { stubDims, stubFingerprint, stubVector } from '../../stub-model.ts'
import { median, quantile } from '../figures.ts'
import { latenciesOf } from '../receipt-times.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note, publishAll, untilStatus, withServer } from '../scratch.ts'
import { inTurn, medianRatio } from '../shard/search-load.ts'
import type { GatewayBenchOptions } from './gateway-scene.ts'
import { QueryBodies, SearchClient } from './search-client.ts'

const pairs = 5
const inFlight = 8
const itemsPerSecond = 125
const k = 24
const queryCount = 500
const lengths = {
  full: { windowMs: 8_000, items: 4_000 },
  quick: { windowMs: 2_000, items: 1_000 },
  smoke: { windowMs: 300, items: 100 },
} as const

/** Searches by vector through the whole server while items are inserted, against the same server at rest. */
export async function underIngestBench({ length }: GatewayBenchOptions): Promise<Report> {
  const { windowMs, items } = lengths[length]
  const inserted = Math.ceil((windowMs / 1_000) * itemsPerSecond)
  return withServer({ env: { FRESHET_STUB_MODEL: 'true' } }, async ({ url }, client) => {
    note(`storing ${items + pairs * inserted} pictures`)
    const blobs = await storePictures(client, items + pairs * inserted)
    await publishAll(client, blobs.slice(0, items).map(itemOf))
    await untilStatus(client, status => status.items.searchable === items)
    const search = new SearchClient(url, queries())
    let published = items
    const latencies: number[] = []
    const busyWindow = async (): Promise<number> => {
      const lines = blobs.slice(published, published + inserted).map((blob, i) => itemOf(blob, published + i))
      const publishing = publishAtRate(client, lines)
      const { qps } = await search.window(windowMs, inFlight)
      const receipts = await publishing
      published += receipts.length
      await untilStatus(client, status => status.items.searchable === published)
      latencies.push(...(await latenciesOf(client, receipts)))
      return qps
    }
    try {
      await search.window(windowMs, inFlight)
      const { first, second } = await inTurn(
        pairs,
        busyWindow,
        async () => (await search.window(windowMs, inFlight)).qps,
      )
      note(`queries/s while inserting ${first.map(Math.round).join(' ')}, at rest ${second.map(Math.round).join(' ')}`)
      return {
        bench: 'under-ingest',
        hardware: hardware(),
        data: `a server with the stub model, ${items.toLocaleString('en')} items at first, ${itemsPerSecond}/s inserted in one bulk stream, each with a picture of its own; searches by vector, no two alike, k = ${k}, ${inFlight} in flight, from a process on the same machine`,
        seed: null,
        baseline: `the same server at rest; ${pairs} interleaved pairs of ${windowMs / 1_000} s`,
        measures: [
          measure('queries/s while inserting / at rest', medianRatio(first, second), '', { atLeast: 0.9 }),
          measure('while inserting', median(first), 'queries/s'),
          measure('at rest', median(second), 'queries/s'),
          measure('inserted and searchable', published - items, 'items'),
          measure('accepted to searchable meanwhile, p50', median(latencies), 'ms'),
          measure('accepted to searchable meanwhile, p99', quantile(latencies, 0.99), 'ms'),
          measure('answers that were not whole', search.degraded, ''),
        ],
      }
    } finally {
      search.close()
    }
  })
}

function queries(): QueryBodies {
  const vectors = new Float32Array(queryCount * stubDims)
  for (let i = 0; i < queryCount; i++)
    vectors.set(stubVector(createHash('sha256').update(`query ${i}`).digest('hex')), i * stubDims)
  return new QueryBodies(vectors, { dims: stubDims, k, fingerprint: stubFingerprint })
}

const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

/** Different files of the signature of a PNG and 32 bytes: enough for the stub model. */
async function storePictures(client: FreshetClient, count: number): Promise<readonly string[]> {
  const blobs = new Array<string>(count)
  let next = 0
  const storing = async (): Promise<void> => {
    while (next < count) {
      const i = next++
      const picture = new Uint8Array([...signature, ...createHash('sha256').update(`picture ${i}`).digest()])
      blobs[i] = (await client.putBlob(picture)).blob
    }
  }
  await Promise.all(Array.from({ length: inFlight }, storing))
  return blobs
}

type Line = ReturnType<typeof itemOf>

function itemOf(blob: string, i: number) {
  return {
    itemId: `item-${i}`,
    title: `Product number ${i}`,
    category: `category-${i % 20}`,
    price: (i % 500) + 0.99,
    currency: 'EUR',
    regions: ['de', 'fr'],
    images: [blob],
    attributes: { colour: i % 2 ? 'red' : 'blue', seats: i % 5 },
  }
}

/** Open loop: each line when it is due. Resolves with the receipts. */
async function publishAtRate(client: FreshetClient, lines: readonly Line[]): Promise<readonly string[]> {
  const began = performance.now()
  async function* due() {
    for (const [i, line] of lines.entries()) {
      const waitMs = began + (i / itemsPerSecond) * 1_000 - performance.now()
      if (waitMs > 0) await pause(waitMs)
      yield line
    }
  }
  const receipts: string[] = []
  for await (const answer of client.bulk(due())) {
    if ('error' in answer) throw new Error(answer.error.message)
    receipts.push(answer.receipt)
  }
  return receipts
}
