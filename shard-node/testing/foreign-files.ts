import { ModelledShard } from './modelled-shard.ts'
import { compareWhole } from './shard-comparison.ts'
import { tinyTuning } from './tiny-tuning.ts'

/** What the process of another user found; one line of JSON. */
export interface OpenedForeign {
  readonly alarms: readonly { readonly code: string; readonly message: string }[]
  readonly graphs: number
}

/** A shard whose log is the same each time; its files only where they are made. */
export async function withForeignShard(use: (shard: ModelledShard) => Promise<void>): Promise<void> {
  const shard = await ModelledShard.create({ seed: 55, dims: 16, items: 400, tuning: tinyTuning })
  try {
    await shard.writeEvents(500)
    await use(shard)
  } finally {
    await shard.dispose()
  }
}

/** Makes the files, with a graph among them. */
export async function makeFiles(directory: string): Promise<void> {
  await withForeignShard(async shard => {
    const node = await shard.open(directory)
    await node.settled()
    await node.checkpoint()
    await shard.close(node)
  })
}

/** A process of another user than the files' opens them, and works on. Argument: their directory. */
if (process.argv[1] === import.meta.filename)
  await withForeignShard(async shard => {
    const node = await shard.open(process.argv[2]!)
    await compareWhole(shard, node)
    const { storage } = await node.status()
    const alarms = shard.alarms.map(({ code, message }) => ({ code, message }))
    await shard.writeEvents(300)
    await shard.caughtUp(node)
    await compareWhole(shard, node)
    await node.checkpoint()
    await shard.close(node)
    const again = await shard.open(process.argv[2]!)
    await compareWhole(shard, again)
    await shard.close(again)
    const opened: OpenedForeign = { alarms, graphs: storage.graphs }
    process.stdout.write(`${JSON.stringify(opened)}\n`)
  })
