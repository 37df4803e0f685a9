import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asFreshetError } from '../../schemas/errors.ts'
import { decodeManifest, filesOf } from '../checkpoint/manifest.ts'
import type { DiskStep, OnDiskStep } from '../files/disk-steps.ts'
import { type CrashImage, CrashImages, type Unsynced } from './crash-images.ts'
import { ModelledShard } from './modelled-shard.ts'
import { seededRandom } from './seeded-random.ts'
import { compareExact, compareStatus, compareWhole } from './shard-comparison.ts'
import { Spectator } from './spectator.ts'
import { tinyTuning } from './tiny-tuning.ts'

export interface CrashPointsOptions {
  readonly seed: number
  /** Share of the steps that are tried, 0 to 1; the first of each `DiskStep` always is. */
  readonly share: number
  readonly onNote?: (line: string) => void
}

export interface CrashPointsReport {
  /** Disk steps of the scenario. */
  readonly steps: number
  readonly tried: number
  /** Kinds of steps tried, as in `rename rows`. */
  readonly kinds: readonly string[]
}

const losses: readonly Unsynced[] = ['kept', 'half lost', 'kept', 'half zeroed', 'lost']

/**
 * Runs a scenario that makes every kind of disk step, and opens what a crash before each of them leaves: the shard
 * catches up on its log, says what the model says, without an alarm, and works on.
 */
export async function runCrashPoints(options: CrashPointsOptions): Promise<CrashPointsReport> {
  const shard = await newShard(options.seed)
  try {
    const directory = shard.newDirectory()
    const exported = shard.newDirectory()
    const picker = new StepPicker(options)
    const own = new CrashImages(directory, { target: join(shard.directory, 'own'), takes: picker.takes })
    // Its steps are told under the same names: which bytes are synced is not known.
    const copies = new CrashImages(exported, {
      target: join(shard.directory, 'copies'),
      takes: (step, index) => (picker.takes(step, index) === null ? null : 'kept'),
    })
    const onDiskStep: OnDiskStep = (step, file) => {
      own.onDiskStep(step, file)
      copies.onDiskStep(step, file)
    }
    await shard.serve(await shard.open(directory, { onDiskStep }))
    for (const stage of stagesBefore) await stage(shard)
    await own.whileAmbiguous(() => shard.node.exportTo(exported))
    for (const stage of stagesAfter) await stage(shard)
    await shard.close(shard.node)
    const images = [...own.images, ...copies.images]
    for (const [index, image] of images.entries()) {
      options.onNote?.(`${index + 1} of ${images.length}: ${image.before}`)
      await recover(shard, image)
      if (index % 4 === 0) await requireTidy(shard, image)
      await rm(image.directory, { recursive: true })
    }
    return { steps: own.steps, tried: images.length, kinds: picker.kinds }
  } finally {
    await shard.dispose()
  }
}

export interface FullDiskReport {
  /** Steps of the scenario that a full disk can refuse. */
  readonly writes: number
  readonly tried: number
}

/**
 * The same scenario on a disk that is full from one write on: searches go on and are right, a checkpoint is refused
 * with the reason, and once there is space everything is as if nothing had been.
 */
export async function runFullDisk(options: CrashPointsOptions): Promise<FullDiskReport> {
  const writes = await fillDiskAt(Number.POSITIVE_INFINITY, options.seed)
  const random = seededRandom(options.seed)
  let tried = 0
  for (let write = 0; write < writes; write++) {
    if (random() >= options.share) continue
    options.onNote?.(`full from write ${write} of ${writes} on`)
    await fillDiskAt(write, options.seed)
    tried++
  }
  return { writes, tried }
}

/** Resolves to the number of writes. */
async function fillDiskAt(write: number, seed: number): Promise<number> {
  const shard = await newShard(seed)
  const disk = new FillingDisk(write)
  try {
    const directory = shard.newDirectory()
    await shard.serve(await shard.open(directory, { onDiskStep: disk.onDiskStep }))
    const scenario = runStages(shard)
    scenario.catch(() => undefined)
    await Promise.race([scenario, disk.filled])
    if (disk.isFull) await serveWhileFull(shard)
    disk.free()
    await scenario
    await shard.caughtUp()
    await compareWhole(shard, shard.node)
    await shard.node.checkpoint()
    await shard.close(shard.node)
    shard.alarms.length = 0
    await shard.serve(await shard.open(directory))
    await compareWhole(shard, shard.node)
    assert.deepEqual([...shard.alarms, ...shard.failures], [], 'after there is space again')
    return disk.writes
  } catch (cause) {
    throw new Error(`a disk full from write ${write} of seed ${seed} on: ${cause}`, { cause })
  } finally {
    disk.free()
    await shard.dispose()
  }
}

/** All stages; when a full disk refuses one, the next follows. */
async function runStages(shard: ModelledShard): Promise<void> {
  const exporting: Stage = () => shard.node.exportTo(shard.newDirectory())
  for (const stage of [...stagesBefore, exporting, ...stagesAfter])
    await stage(shard).catch(error => {
      if (asFreshetError(error).code !== 'storage-full') throw error
    })
}

/** Searches are answered, and rightly; a checkpoint is refused with the reason. */
async function serveWhileFull(shard: ModelledShard): Promise<void> {
  const spectator = new Spectator(shard)
  await assert.rejects(shard.node.checkpoint(), { code: 'storage-full' })
  await spectator.searched(20)
  await spectator.stop()
  assert.equal(shard.node.state, 'ready')
}

type Stage = (shard: ModelledShard) => Promise<unknown>

/** Writes, rotations, builds, checkpoints. */
const stagesBefore: readonly Stage[] = [
  async shard => {
    await shard.writeEvents(60)
    await shard.caughtUp()
    await shard.node.checkpoint()
  },
  async shard => {
    await shard.writeEvents(350)
    await shard.caughtUp()
    await shard.writeWatermark()
    await shard.node.checkpoint()
    await shard.node.settled()
  },
]

/** After an export: compaction of what was deleted, more writes. */
const stagesAfter: readonly Stage[] = [
  async shard => {
    await shard.write(shard.workload.drain())
    await shard.write(shard.workload.removeShare(0.6))
    await shard.caughtUp()
    await shard.node.settled()
    await shard.node.checkpoint()
  },
  async shard => {
    await shard.writeEvents(200)
    await shard.caughtUp()
    await shard.node.checkpoint()
  },
]

function newShard(seed: number): Promise<ModelledShard> {
  return ModelledShard.create({ seed, dims: 16, items: 250, tuning: tinyTuning })
}

/** Opens the image, holds it against the model, works on and opens it once more. */
async function recover(shard: ModelledShard, image: CrashImage): Promise<void> {
  try {
    const node = await shard.open(image.directory)
    await compareWhole(shard, node)
    await shard.writeEvents(15)
    await shard.caughtUp(node)
    await node.checkpoint()
    await compareStatus(shard, node)
    await shard.close(node)
    const again = await shard.open(image.directory)
    await compareStatus(shard, again)
    await compareExact(shard, { vector: shard.workload.query(), k: 400 }, again)
    await shard.close(again)
    assert.deepEqual([...shard.alarms, ...shard.failures], [])
  } catch (cause) {
    throw new Error(`a crash before ${image.before}: ${cause}`, { cause })
  }
}

/** Nothing that the crash left behind takes space for ever. */
async function requireTidy(shard: ModelledShard, image: CrashImage): Promise<void> {
  const node = await shard.open(image.directory)
  await node.settled()
  await node.checkpoint()
  await shard.close(node)
  assert.deepEqual(orphansIn(image.directory), [], `files that nothing needs after a crash before ${image.before}`)
}

/** Files that no manifest names. */
function orphansIn(directory: string): string[] {
  const names = readdirSync(directory)
  const manifests = names.filter(name => name.startsWith('MANIFEST'))
  const named = manifests.flatMap(name => filesOf(decodeManifest(readFileSync(join(directory, name), 'utf8'))))
  return names.filter(name => !manifests.includes(name) && !named.some(({ file }) => file === name))
}

/** Which steps are tried: the first of each, and of the others a share. */
class StepPicker {
  readonly #random: () => number
  readonly #share: number
  readonly #steps = new Set<DiskStep>()
  readonly #kinds = new Set<string>()

  constructor({ seed, share }: CrashPointsOptions) {
    this.#random = seededRandom(seed)
    this.#share = share
  }

  get kinds(): readonly string[] {
    return [...this.#kinds].sort()
  }

  readonly takes = (step: string, index: number): Unsynced | null => {
    const [kind] = step.split(' ') as [DiskStep]
    const isFirst = !this.#steps.has(kind)
    if (!isFirst && this.#random() >= this.#share) return null
    this.#steps.add(kind)
    this.#kinds.add(step.replace(/-\d+.*$/, ''))
    return losses[index % losses.length]!
  }
}

/** A disk without space from one write on. */
class FillingDisk {
  writes = 0
  /** Resolves with the first write that is refused. */
  readonly filled: Promise<void>
  readonly #fullAt: number
  readonly #onFull: () => void
  #isFreed = false

  constructor(fullAt: number) {
    this.#fullAt = fullAt
    const { promise, resolve } = Promise.withResolvers<void>()
    this.filled = promise
    this.#onFull = resolve
  }

  get isFull(): boolean {
    return !this.#isFreed && this.writes > this.#fullAt
  }

  free(): void {
    this.#isFreed = true
  }

  readonly onDiskStep: OnDiskStep = step => {
    if (step !== 'create' && step !== 'write' && step !== 'link') return
    this.writes++
    if (!this.isFull) return
    this.#onFull()
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${step}`), { code: 'ENOSPC' })
  }
}
