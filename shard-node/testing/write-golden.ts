import { rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { checkpointFormat } from '../checkpoint/manifest.ts'
import { fillGolden, goldenDims, goldenTuning } from './golden-content.ts'
import { ShardOnLog } from './shard-on-log.ts'

/** Writes the golden checkpoint of a new format, once: it must open for ever, so it is never written again. */
const target = fileURLToPath(new URL(`../golden/checkpoint-${checkpointFormat}`, import.meta.url))
const shard = await ShardOnLog.create(goldenDims)
try {
  await shard.open({ tuning: goldenTuning })
  await fillGolden(shard)
  await rm(target, { recursive: true, force: true })
  await shard.node.exportTo(target)
} finally {
  await shard.dispose()
}
