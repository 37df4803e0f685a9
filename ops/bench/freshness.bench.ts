import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { BulkLine } from '../../schemas/http-items.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { demoItems } from '../demo-catalog.ts'
import { BareLoop } from './bare-loop.ts'
import { median, quantile } from './figures.ts'
import { putBlobs } from './ingest.bench.ts'
import { latenciesOf, searchableAfterMs } from './receipt-times.ts'
import { hardware, measure, type Report } from './report.ts'
import { note, withServer } from './scratch.ts'

const pictures = 200
const stubRate = 580
const stubSeconds = 20
const stubBlobs = 200

/** Event accepted to searchable: with the real models on an idle system, and with the stub model under load. */
export async function freshnessBench(): Promise<Report> {
  const { ratios, latencies, bareMs } = await realModels()
  note(`real models: median ${median(latencies).toFixed(1)} ms, bare ${median(bareMs).toFixed(1)} ms`)
  const underLoad = await stubModel()
  return {
    bench: 'freshness',
    hardware: hardware(),
    data: `${pictures} of the bundled products one after another, blobs stored before; with the stub model ${stubRate} new items/s for ${stubSeconds} s in one live bulk stream`,
    seed: null,
    baseline: 'decode + detect + crop + embed of the same picture alone in an idle process, right before',
    measures: [
      measure('accepted to searchable / bare model time, p99', quantile(ratios, 0.99), '', { atMost: 3 }),
      measure('accepted to searchable / bare model time, median', median(ratios), ''),
      measure('accepted to searchable, p50', median(latencies), 'ms'),
      measure('accepted to searchable, p99', quantile(latencies, 0.99), 'ms'),
      measure(`stub model at ${stubRate}/s, p99`, quantile(underLoad, 0.99), 'ms', { atMost: 930 }),
      measure(`stub model at ${stubRate}/s, p50`, median(underLoad), 'ms'),
    ],
  }
}

async function realModels() {
  const bare = await BareLoop.open(1)
  const bareMs: number[] = []
  const latencies: number[] = []
  try {
    await withServer({}, async (_server, client) => {
      const items = demoItems().slice(0, pictures)
      for (const item of items) {
        const path = fileURLToPath(item.images![0]!)
        const { blob } = await client.putBlob(readFileSync(path))
        bareMs.push(await bare.timeOf('index', path))
        const receipt = await client.publishAndWait({ ...item, images: [blob] }, { timeoutMs: 30_000 })
        latencies.push(searchableAfterMs(receipt))
      }
    })
  } finally {
    await bare.close()
  }
  return { ratios: latencies.map((ms, i) => ms / bareMs[i]!), latencies, bareMs }
}

async function stubModel(): Promise<readonly number[]> {
  return withServer({ env: { FRESHET_STUB_MODEL: 'true' } }, async (_server, client) => {
    const blobs = await putBlobs(client, stubBlobs)
    const receipts: string[] = []
    for await (const answer of client.bulk(paced(blobs))) {
      if ('error' in answer) throw new Error(answer.error.message)
      receipts.push(answer.receipt)
    }
    await awaitReceipts(client, receipts)
    return latenciesOf(client, receipts)
  })
}

/** A live pipe: what is due is sent every few milliseconds, whether or not earlier lines were answered. */
async function* paced(blobs: readonly string[]): AsyncGenerator<BulkLine> {
  const began = performance.now()
  const total = stubRate * stubSeconds
  for (let sent = 0; sent < total; ) {
    const due = Math.min(total, Math.ceil(((performance.now() - began) / 1_000) * stubRate))
    for (; sent < due; sent++)
      yield { itemId: `item-${sent}`, title: `Product ${sent}`, images: [blobs[sent % blobs.length]!] }
    await delay(5)
  }
}
