import { cpSync, rmSync, writeSync } from 'node:fs'
import type { ShardNode } from '../shard-node.ts'
import { type Damage, damages, type FileKind, fileKinds, filesOfKind } from './damages.ts'
import { ModelledShard } from './modelled-shard.ts'
import { compareExact, compareStatus } from './shard-comparison.ts'
import { tinyTuning } from './tiny-tuning.ts'

/** What came of one opening; a line of JSON each. */
export interface OpenedDamaged {
  readonly kind: FileKind
  readonly damage: string
  /** Codes, in order. */
  readonly alarms: readonly string[]
  /** What was wrong with the shard, or null. */
  readonly problem: string | null
}

/**
 * A process that opens damaged files and may die of it. Makes a shard with two checkpoints, and for each kind of file
 * and each damage opens a copy with the largest file of that kind damaged and holds it against the model.
 */
const shard = await ModelledShard.create({ seed: 77, dims: 16, items: 300, tuning: tinyTuning })
const pristine = shard.newDirectory()
await fill(await shard.open(pristine))
for (const kind of fileKinds) for (const damage of damages) await tryDamage(kind, damage)
await shard.dispose()

async function tryDamage(kind: FileKind, { name: damage, apply }: Damage): Promise<void> {
  writeSync(1, `${JSON.stringify({ begins: `${kind} ${damage}` })}\n`)
  const directory = shard.newDirectory()
  cpSync(pristine, directory, { recursive: true })
  const [path, other = filesOfKind(directory, 'rows')[0]] = filesOfKind(directory, kind)
  if (path === undefined || other === undefined) throw new Error(`there is no ${kind}`)
  apply(path, other)
  shard.alarms.length = 0
  const problem = await open(directory, damage === damages[0]!.name ? 2 : 1)
  const opened: OpenedDamaged = { kind, damage, alarms: shard.alarms.map(({ code }) => code), problem }
  writeSync(1, `${JSON.stringify(opened)}\n`)
  rmSync(directory, { recursive: true })
}

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

/** After the first kind of damage opened twice: what was put right stays so. */
async function open(directory: string, times: number): Promise<string | null> {
  try {
    const counts: number[] = []
    for (let time = 0; time < times; time++) {
      const node = await shard.open(directory)
      await compareStatus(shard, node)
      for (let i = 0; i < 3; i++) await compareExact(shard, { vector: shard.workload.query(), k: 300 }, node)
      await shard.close(node)
      counts.push(shard.alarms.length)
    }
    return counts[0] === counts.at(-1) ? null : 'the second opening raises an alarm too'
  } catch (error) {
    return String(error)
  }
}
