import { statSync, truncateSync } from 'node:fs'
import { expect, test } from 'vitest'
import { filesOfKind } from './testing/damages.ts'
import { ModelledShard } from './testing/modelled-shard.ts'
import { compareWhole } from './testing/shard-comparison.ts'

test('what is damaged only where the newest checkpoint reads leaves the one before', async () => {
  const shard = await ModelledShard.create({ seed: 78, dims: 16, items: 100 })
  try {
    const directory = shard.newDirectory()
    await shard.serve(await shard.open(directory))
    await shard.writeEvents(80)
    await shard.caughtUp()
    await shard.node.checkpoint()
    const { writtenAtMs } = (await shard.node.status()).checkpoint
    shard.storage.nowMs += 1_000
    await shard.writeEvents(80)
    await shard.caughtUp()
    await shard.close(shard.node)
    const [itemLog] = filesOfKind(directory, 'items')
    truncateSync(itemLog!, statSync(itemLog!).size - 1)
    await shard.serve(await shard.open(directory))
    expect(shard.alarms.map(({ code }) => code)).toEqual(['checkpoint-corrupt'])
    expect((await shard.node.status()).checkpoint.writtenAtMs).toBe(writtenAtMs)
    await compareWhole(shard, shard.node)
  } finally {
    await shard.dispose()
  }
})
