import { cpSync, rmSync, writeSync } from 'node:fs'
import type { ShardNode } from '../shard-node.ts'
import { damages, type FileKind, filesOfKind } from './damages.ts'
import { ModelledShard } from './modelled-shard.ts'
import { compareWhole } from './shard-comparison.ts'
import { tinyTuning } from './tiny-tuning.ts'

/** What came of one opening; a line of JSON each. */
export interface OpenedDamaged {
  readonly damage: string
  /** Codes, in order. */
  readonly alarms: readonly string[]
  /** What was wrong with the shard, or null. */
  readonly problem: string | null
}

/**
 * A process that opens damaged files and may die of it. Argument: the kind of file. Makes a shard with two
 * checkpoints, and for each damage opens a copy with one file of that kind damaged and holds it against the model.
 */
const kind = process.argv[2] as FileKind
const shard = await ModelledShard.create({ seed: 77, dims: 16, items: 300, tuning: tinyTuning })
const pristine = shard.newDirectory()
await fill(await shard.open(pristine))
for (const { name: damage, apply } of damages) {
  writeSync(1, `${JSON.stringify({ begins: damage })}\n`)
  const directory = shard.newDirectory()
  cpSync(pristine, directory, { recursive: true })
  const [path, other = filesOfKind(directory, 'rows')[0]] = filesOfKind(directory, kind)
  if (path === undefined || other === undefined) throw new Error(`there is no ${kind}`)
  apply(path, other)
  shard.alarms.length = 0
  const problem = await open(directory)
  const opened: OpenedDamaged = { damage, alarms: shard.alarms.map(({ code }) => code), problem }
  writeSync(1, `${JSON.stringify(opened)}\n`)
  rmSync(directory, { recursive: true })
}
await shard.dispose()

/** A former checkpoint, and a newest one with a graph, segments without one, and rows of the segment being written. */
async function fill(node: ShardNode): Promise<void> {
  await shard.writeEvents(150)
  await shard.caughtUp(node)
  await node.checkpoint()
  await shard.writeEvents(450)
  await shard.caughtUp(node)
  await node.settled()
  await shard.writeEvents(60)
  await shard.caughtUp(node)
  await node.checkpoint()
  await shard.close(node)
}

/** Opened twice: what was put right stays so. */
async function open(directory: string): Promise<string | null> {
  try {
    const counts: number[] = []
    for (let time = 0; time < 2; time++) {
      const node = await shard.open(directory)
      await compareWhole(shard, node)
      await shard.close(node)
      counts.push(shard.alarms.length)
    }
    return counts[0] === counts[1] ? null : 'the second opening raises an alarm too'
  } catch (error) {
    return String(error)
  }
}
