import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import { ModelledShard } from './modelled-shard.ts'
import { tinyTuning } from './tiny-tuning.ts'

/**
 * A process to kill: a shard that is written to, checkpointed and compacted without end. Prints a line per disk step
 * and per round of writes. Arguments: directory, seed, version to begin above.
 */
const [directory, seed, aboveVersion] = process.argv.slice(2)
const environment = await EmbeddedEnvironment.open({ directory: join(directory!, 'log'), clock: () => 1_000_000 })
const shard = await ModelledShard.create({
  seed: Number(seed),
  aboveVersion: Number(aboveVersion),
  dims: 16,
  items: 400,
  tuning: tinyTuning,
  log: new EmbeddedEventLog(environment),
})
const onDiskStep = (step: string, file: string): void => void writeSync(1, `${step} ${file}\n`)
await shard.serve(await shard.open(join(directory!, 'shard'), { onDiskStep }))
for (let round = 0; ; round++) {
  await shard.writeEvents(30)
  if (round % 2 === 0) await shard.caughtUp()
  if (round % 3 === 0) void shard.node.checkpoint()
  writeSync(1, `round ${round}\n`)
}
