import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import type { ShardNode } from '../shard-node.ts'
import type { ShardNodeOptions } from '../shard-node-options.ts'
import { copyAsCrashed } from './crash-images.ts'
import { ModelledShard } from './modelled-shard.ts'
import { seededRandom } from './seeded-random.ts'
import {
  compareApproximate,
  compareBatch,
  compareExact,
  compareRegisters,
  compareStatus,
  compareWhole,
  type RecallCount,
} from './shard-comparison.ts'
import { Spectator } from './spectator.ts'

export interface ShardModelRunOptions {
  readonly seed: number
  readonly operations: number
  readonly dims: number
  /** Size of the space that item ids are drawn from. */
  readonly items: number
  /** Most events between two comparisons; 40 when not given. */
  readonly eventsAtOnce?: number
  readonly tuning?: ShardNodeOptions['tuning']
  readonly onProgress?: (done: number) => void
}

export interface ShardModelReport {
  readonly seed: number
  /** How often each kind of operation was done; events by their kind. */
  readonly operations: Readonly<Record<string, number>>
  /** Searches answered while other operations ran. */
  readonly searchesMeanwhile: number
  /** Of the approximate searches: hits that are in the exact answer ÷ hits of the exact answer. */
  readonly recall: number
  /** The most that were seen at once. */
  readonly graphs: number
  readonly segments: number
  /** How often the number of segments was another one than when looked at before: rotations, builds, drops. */
  readonly layouts: number
  /** At the end. */
  readonly rows: number
}

/** Operations and how often they are drawn, between writes of some events. */
const weights = {
  exactSearch: 30,
  approximateSearch: 30,
  filteredSearch: 40,
  batch: 10,
  registers: 20,
  status: 15,
  watermark: 10,
  checkpoint: 8,
  whole: 2,
  restart: 3,
  crash: 3,
  replica: 3,
  replay: 1,
  compactLog: 2,
} as const
type Operation = keyof typeof weights
export const operationKinds = Object.keys(weights) as readonly Operation[]

/**
 * Random operations on a shard, each answer compared with the model's, while a spectator searches without pause. The
 * same seed does the same operations; what runs beside them is up to the machine.
 */
export async function runShardModel(options: ShardModelRunOptions): Promise<ShardModelReport> {
  const run = await ShardModelRun.create(options)
  try {
    return await run.run()
  } catch (cause) {
    const { seed, operations, dims, items } = options
    throw new Error(`${run.doing} of ${JSON.stringify({ seed, operations, dims, items })}: ${cause}`, { cause })
  } finally {
    await run.dispose()
  }
}

class ShardModelRun {
  readonly #options: ShardModelRunOptions
  readonly #shard: ModelledShard
  readonly #random: () => number
  readonly #spectator: Spectator
  readonly #counts = new Map<string, number>()
  readonly #recall: RecallCount = { found: 0, wanted: 0 }
  #directory: string
  #done = 0
  #graphs = 0
  #segments = 0
  #layouts = 0
  #lastSegments = 0
  #operation: Operation | 'writes' = 'writes'

  private constructor(options: ShardModelRunOptions, shard: ModelledShard) {
    this.#options = options
    this.#shard = shard
    this.#random = seededRandom(options.seed ^ 0xd1ce)
    this.#directory = shard.newDirectory()
    this.#spectator = new Spectator(shard)
  }

  static async create(options: ShardModelRunOptions): Promise<ShardModelRun> {
    return new ShardModelRun(options, await ModelledShard.create(options))
  }

  /** For the message of a failure. */
  get doing(): string {
    return `operation ${this.#done} (${this.#operation})`
  }

  async run(): Promise<ShardModelReport> {
    const { seed, operations, eventsAtOnce = 40, onProgress } = this.#options
    await this.#shard.serve(await this.#shard.open(this.#directory))
    try {
      for (; this.#done < operations; onProgress?.(this.#done)) {
        await this.#write(1 + Math.floor(this.#random() * eventsAtOnce))
        if (this.#random() < 0.8) await this.#shard.caughtUp()
        await this.#operate(this.#draw())
        await this.#noteLayout()
        this.#spectator.requireRight()
        assert.deepEqual([...this.#shard.alarms, ...this.#shard.failures], [])
      }
      await this.#shard.write(this.#shard.workload.drain())
      await this.#shard.caughtUp()
    } finally {
      await this.#spectator.stop()
    }
    await compareWhole(this.#shard, this.#shard.node)
    const { rows } = await this.#shard.node.status()
    return {
      seed,
      operations: Object.fromEntries([...this.#counts].sort()),
      searchesMeanwhile: this.#spectator.searches,
      recall: this.#recall.found / this.#recall.wanted,
      graphs: this.#graphs,
      segments: this.#segments,
      layouts: this.#layouts,
      rows,
    }
  }

  dispose(): Promise<void> {
    return this.#shard.dispose()
  }

  async #noteLayout(): Promise<void> {
    const { segments, storage } = await this.#shard.node.status()
    if (segments !== this.#lastSegments) this.#layouts++
    this.#lastSegments = segments
    this.#segments = Math.max(this.#segments, segments)
    this.#graphs = Math.max(this.#graphs, storage.graphs)
  }

  async #write(count: number): Promise<void> {
    if (this.#random() < 0.5) this.#spectator.race()
    for (const [kind, events] of await this.#shard.writeEvents(count)) this.#count(kind, events)
  }

  async #operate(operation: Operation): Promise<void> {
    const shard = this.#shard
    const recall = this.#recall
    const { workload, node } = shard
    this.#operation = operation
    this.#count(operation)
    await shard.caughtUp()
    switch (operation) {
      case 'exactSearch':
        return compareExact(shard, { vector: workload.query(), k: this.#k(), excludeItem: workload.itemId() }, node)
      case 'approximateSearch':
        return compareApproximate(shard, { vector: workload.query(), k: this.#k() }, { node, recall })
      case 'filteredSearch': {
        const query = { vector: workload.query(), k: this.#k(), filter: workload.filter() }
        await compareApproximate(shard, query, { node, recall })
        return compareExact(shard, query, node)
      }
      case 'batch': {
        const queries = Array.from({ length: 5 }, () => ({ vector: workload.query(), k: this.#k() }))
        return compareBatch(shard, [...queries, { ...queries[0]!, filter: workload.filter() }], node)
      }
      case 'registers':
        return compareRegisters(shard, workload.itemId(), node)
      case 'status':
        return compareStatus(shard, node)
      case 'watermark':
        return this.#shard.writeWatermark()
      case 'checkpoint':
        return this.#checkpoint()
      case 'whole':
        return compareWhole(this.#shard, this.#shard.node)
      case 'restart':
        return this.#restart()
      case 'crash':
        return this.#crash()
      case 'replica':
        return this.#replica()
      case 'replay':
        return this.#replay()
      case 'compactLog':
        await this.#shard.compactLog()
    }
  }

  /** Sometimes it goes on while events are written. */
  async #checkpoint(): Promise<void> {
    const written = this.#shard.node.checkpoint()
    if (this.#random() < 0.5) await this.#write(10)
    await written
  }

  async #restart(): Promise<void> {
    await this.#shard.close(this.#shard.node)
    await this.#write(3)
    await this.#shard.serve(await this.#shard.open(this.#directory))
    await compareWhole(this.#shard, this.#shard.node)
  }

  /** Goes on from the files as they lie at this moment; sometimes amid a checkpoint, always amid writes. */
  async #crash(): Promise<void> {
    const crashed = this.#shard.node
    const checkpoint = this.#random() < 0.5 ? crashed.checkpoint().catch(() => undefined) : null
    await this.#write(5)
    for (let turns = Math.floor(this.#random() * 6); turns > 0; turns--) await new Promise(setImmediate)
    const left = this.#directory
    this.#directory = this.#shard.newDirectory()
    copyAsCrashed(left, this.#directory)
    await this.#shard.serve(await this.#shard.open(this.#directory))
    await checkpoint
    await this.#abandon(crashed, left)
    await compareWhole(this.#shard, this.#shard.node)
  }

  /**
   * A replica from a snapshot of this one, taken while events are written, goes on in its place every other time. It
   * runs in the snapshot itself, or starts from it in a directory of its own.
   */
  async #replica(): Promise<void> {
    const source = this.#shard.node
    const snapshot = this.#shard.newDirectory()
    const exported = source.exportTo(snapshot)
    await this.#write(10)
    await exported
    const isSeed = this.#random() < 0.5
    const target = isSeed ? this.#shard.newDirectory() : snapshot
    const replica = await this.#shard.open(target, isSeed ? { seedDirectory: snapshot } : {})
    if (isSeed) await rm(snapshot, { recursive: true })
    await compareWhole(this.#shard, replica)
    if (this.#random() < 0.5) return this.#abandon(replica, target)
    await this.#shard.serve(replica)
    await this.#abandon(source, this.#directory)
    this.#directory = target
  }

  /** A replica without any file reads the log from its start, compacted or not. */
  async #replay(): Promise<void> {
    const directory = this.#shard.newDirectory()
    const replica = await this.#shard.open(directory)
    await compareWhole(this.#shard, replica)
    await this.#abandon(replica, directory)
  }

  async #abandon(node: ShardNode, directory: string): Promise<void> {
    await this.#shard.close(node)
    await rm(directory, { recursive: true })
  }

  /** By weight; before long each kind at least once. */
  #draw(): Operation {
    const undone = operationKinds.find(kind => !this.#counts.has(kind))
    if (undone !== undefined && this.#random() < 0.25) return undone
    let draw = this.#random() * operationKinds.reduce((sum, kind) => sum + weights[kind], 0)
    for (const kind of operationKinds) {
      draw -= weights[kind]
      if (draw < 0) return kind
    }
    return 'whole'
  }

  #k(): number {
    return [1, 10, 50, 200][Math.floor(this.#random() * 4)]!
  }

  #count(kind: string, by = 1): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + by)
    this.#done += by
  }
}
