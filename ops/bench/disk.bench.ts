import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { FreshetClient } from '../../schemas/client.ts'
import type { Item } from '../../schemas/http-items.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { demoItems } from '../demo-catalog.ts'
import { hardware, measure, type Report } from './report.ts'
import { note, publishAll, withServer } from './scratch.ts'

const rewrites = 100
const compactionLagMs = 1_000

/** Disk after rewriting every item many times, against after writing it once. */
export async function diskBench(): Promise<Report> {
  const items = demoItems()
  const env = {
    FRESHET_LOG_COMPACTION_LAG_MS: String(compactionLagMs),
    FRESHET_CHECKPOINT_EVERY_MS: '2000',
  }
  return withServer({ env }, async (_server, client, dataDir) => {
    await writeAll(client, items, 0)
    const once = await settledBytes(dataDir)
    note(`after once: ${mebibytes(once)} MiB`)
    let most = once
    for (let round = 1; round <= rewrites; round++) {
      await writeAll(client, items, round)
      most = Math.max(most, allocatedBytes(dataDir))
      if (round % 10 === 0) note(`after ${round} rewrites: ${mebibytes(allocatedBytes(dataDir))} MiB`)
    }
    const after = await settledBytes(dataDir)
    return {
      bench: 'disk',
      hardware: hardware(),
      data: `${items.length} products, each rewritten ${rewrites} times with another price and another product's picture; log.compactionLagMs ${compactionLagMs}, checkpoint every 2 s`,
      seed: null,
      baseline: 'the same directory after each item was written once',
      measures: [
        measure('after / once', after / once, '', { atMost: 3 }),
        measure('most during / once', most / once, ''),
        measure('after once', once / 2 ** 20, 'MiB'),
        measure(`after ${rewrites} rewrites`, after / 2 ** 20, 'MiB'),
      ],
    }
  })
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1)

/** The pictures move round by one item per round: the objects are replaced too, without a model run. */
async function writeAll(client: FreshetClient, items: readonly Item[], round: number): Promise<void> {
  const lines = items.map((item, i) => ({
    ...item,
    price: (item.price ?? 0) + round,
    images: items[(i + round) % items.length]!.images!,
  }))
  const failed = await awaitReceipts(client, await publishAll(client, lines))
  if (failed.length > 0) throw new Error(`${failed.length} items failed: ${failed[0]!.failure?.message}`)
}

/** After log compaction and checkpoints had their time. */
async function settledBytes(directory: string): Promise<number> {
  await delay(5 * compactionLagMs + 5_000)
  return allocatedBytes(directory)
}

function allocatedBytes(directory: string): number {
  let total = 0
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    total += entry.isDirectory()
      ? allocatedBytes(path)
      : (lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512
  }
  return total
}
