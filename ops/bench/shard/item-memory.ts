import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { StorageStatus } from '../../../schemas/shard-api.ts'
import { type Measure, measure } from '../report.ts'
import type { BenchNodeOptions } from './bench-node.ts'
import { withProcess } from './child-calls.ts'
import type { NodeProcess } from './node-child.ts'
import { dims, type Scene, tuningFor } from './scene.ts'

const entry = fileURLToPath(new URL('./node-child.ts', import.meta.url))
const quietMs = { full: 3_000, quick: 1_000, smoke: 300 } as const

/** What a whole shard holds by item, registers and filter columns apart from vectors; opened from its files. */
export async function itemMeasures(scene: Scene, rows: number): Promise<readonly Measure[]> {
  const { seed, length } = scene.options
  const optionsOf = (name: string): BenchNodeOptions => ({
    directory: join(scene.directory, `${name}-${rows}`),
    dims,
    seed,
    items: rows,
    order: 'half-new',
    firstUpsert: 0,
    tuning: { recall: null, index: tuningFor(rows) },
  })
  const served = (options: BenchNodeOptions): Promise<Served> =>
    withProcess<NodeProcess, Served>(entry, async process => {
      await process.calls.open(options)
      await process.calls.settled(quietMs[length])
      const bytes = process.pssBytes() - process.pssOfFileBytes('data.mdb')
      return { bytes, storage: (await process.calls.status()).storage }
    })
  const filled = optionsOf('items')
  await withProcess<NodeProcess, void>(entry, async process => {
    await process.calls.open(filled)
    await process.calls.upsert(rows)
    await process.calls.settled(quietMs[length])
    await process.calls.close()
  })
  const empty = await served(optionsOf('no-items'))
  const { bytes, storage } = await served({ ...filled, firstUpsert: rows })
  const name = `items, ${rows.toLocaleString('en')}`
  return [
    measure(`${name}: table and columns`, storage.items.memoryPerItem, 'B/item', { atMost: 200 }),
    measure(`${name}: contents on disk`, storage.items.diskBytes / rows, 'B/item'),
    measure(`${name}: whole shard, vectors among them`, (bytes - empty.bytes) / rows, 'B/item'),
  ]
}

interface Served {
  readonly bytes: number
  readonly storage: StorageStatus
}
