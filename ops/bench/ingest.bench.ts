import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { FreshetClient } from '../../schemas/client.ts'
import type { Item, Receipt } from '../../schemas/http-items.ts'
import { demoItems } from '../demo-catalog.ts'
import { startServerProcess } from '../testing/server-process.ts'
import { BareLoop } from './bare-loop.ts'
import { median } from './figures.ts'
import { hardware, measure, type Report } from './report.ts'
import { note, publishAll, untilStatus, withScratch, withServer } from './scratch.ts'

const pairs = 5
const stubEvents = 60_000

/** Events a second through the whole path: with the real models against the bare loop, and with the stub model. */
export async function ingestBench(): Promise<Report> {
  const processes = Math.min(availableParallelism(), 4)
  const items = demoItems()
  const bare = await BareLoop.open(processes)
  const bareRates: number[] = []
  const pathRates: number[] = []
  try {
    for (let pair = 1; pair <= pairs; pair++) {
      bareRates.push(perSecond(items.length, await bare.indexAll(items.map(pathOf))))
      pathRates.push(perSecond(items.length, await wholePathMs(items)))
      note(
        `pair ${pair} of ${pairs}: bare ${bareRates.at(-1)!.toFixed(1)}/s, whole path ${pathRates.at(-1)!.toFixed(1)}/s`,
      )
    }
  } finally {
    await bare.close()
  }
  const stub = await stubIngest()
  note(`stub model: ${stub.toFixed(0)} events/s`)
  return {
    bench: 'ingest',
    hardware: hardware(),
    data: `the ${items.length} bundled products, ${pairs} interleaved pairs on new data directories, pictures uploaded before; with the stub model ${stubEvents} new items in one bulk stream, each with a stored image of its own`,
    seed: null,
    baseline: `decode + detect + crop + embed of the same pictures in bare loops, ${processes} processes`,
    measures: [
      measure('whole path / bare loop', median(pathRates.map((rate, i) => rate / bareRates[i]!)), '', { atLeast: 0.9 }),
      measure('whole path', median(pathRates), 'events/s'),
      measure('bare loop', median(bareRates), 'events/s'),
      measure('stub model, sustained', stub, 'events/s', { atLeast: 2_000 }),
    ],
  }
}

const pathOf = (item: Item): string => fileURLToPath(item.images![0]!)
const perSecond = (count: number, ms: number): number => (count / ms) * 1_000

/**
 * From the first byte published to the last item searchable, as its receipt tells; the pictures are uploaded before.
 * The server is hardly asked meanwhile, because that would be work the bare loop does not have.
 */
async function wholePathMs(items: readonly Item[]): Promise<number> {
  return withServer({}, async (_server, client) => {
    const stored = await storePictures(client, items)
    const beganAtMs = Date.now()
    const receipts = await publishAll(client, stored)
    await untilStatus(client, status => status.items.searchable === items.length, { everyMs: 1_000 })
    const searchableAtMs = await Promise.all(receipts.map(async receipt => latestMs(await client.receipt(receipt))))
    return Math.max(...searchableAtMs) - beganAtMs
  })
}

/** When the slowest replica had it. */
function latestMs({ generations }: Receipt): number {
  const times = generations.flatMap(({ replicas }) => replicas.map(({ atMs }) => atMs ?? Number.POSITIVE_INFINITY))
  return Math.max(...times)
}

async function storePictures(client: FreshetClient, items: readonly Item[]): Promise<readonly Item[]> {
  const stored: Item[] = []
  for (const item of items) stored.push({ ...item, images: [(await client.putBlob(readFileSync(pathOf(item)))).blob] })
  return stored
}

async function stubIngest(): Promise<number> {
  return withScratch(async dataDir => {
    const env = { FRESHET_STUB_MODEL: 'true', FRESHET_LOG_LEVEL: 'warn' }
    await (await startServerProcess({ dataDir, env })).stop()
    const blobs = storeBlobs(dataDir, stubEvents)
    const server = await startServerProcess({ dataDir, env })
    try {
      const client = new FreshetClient({ baseUrl: server.url })
      const began = performance.now()
      await sendLines(
        server.url,
        blobs.map((blob, i) => stubLine(i, blob)),
      )
      note(`accepted at ${perSecond(stubEvents, performance.now() - began).toFixed(0)} events/s`)
      await untilStatus(client, status => status.items.searchable === stubEvents)
      return perSecond(stubEvents, performance.now() - began)
    } finally {
      await server.stop()
    }
  })
}

/** As many different images as events, so that no cache helps; put where the blob store keeps them. */
function storeBlobs(dataDir: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => {
    const picture = stubPicture(i)
    const digest = createHash('sha256').update(picture).digest('hex')
    const folder = join(dataDir, 'blobs', digest.slice(0, 2))
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, digest), picture)
    return `blob:${digest}`
  })
}

/** Small different pictures: 1 × 1 PNGs would do for the stub, but a blob has to look like a picture. */
export async function putBlobs(client: FreshetClient, count: number): Promise<readonly string[]> {
  const blobs: string[] = []
  for (let i = 0; i < count; i++) blobs.push((await client.putBlob(stubPicture(i))).blob)
  return blobs
}

/** The signature of a PNG and 32 bytes that differ. Only the stub model takes it for a picture. */
function stubPicture(i: number): Uint8Array {
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
  return new Uint8Array([...signature, ...createHash('sha256').update(`stub picture ${i}`).digest()])
}

function stubLine(i: number, blob: string): string {
  return JSON.stringify({
    itemId: `item-${i}`,
    title: `Product number ${i} of a bulk load`,
    category: `category-${i % 20}`,
    price: (i % 500) + 0.99,
    currency: 'EUR',
    regions: ['de', 'fr'],
    images: [blob],
    attributes: { colour: i % 2 ? 'red' : 'blue', seats: i % 5 },
  })
}

/** The answers are read but not parsed, so that the client costs little on the machine it shares with the server. */
async function sendLines(url: string, lines: readonly string[]): Promise<void> {
  const response = await fetch(`${url}/v1/items`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: `${lines.join('\n')}\n`,
  })
  const text = await response.text()
  const accepted = text.split('"receipt"').length - 1
  if (accepted !== lines.length) throw new Error(`${accepted} of ${lines.length} lines accepted: ${text.slice(-300)}`)
}
