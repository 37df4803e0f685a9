import { asOffset, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import { tailFromOf } from './arrival.ts'
import {
  type AssignedPartition,
  type DispatchInput,
  type DispatchState,
  type Effects,
  type MutationPosition,
  newDispatchState,
} from './dispatch-state.ts'
import type { ItemEntry } from './item-entry.ts'
import { step } from './step.ts'
import type { DispatchTestDriver } from './test-driver.ts'

/** Which pieces of the writes in flight outlive a crash; `table` is the checkpoint of what was written before them. */
export type Survives = (piece: 'append' | 'job' | 'hint' | 'letter' | 'commit' | 'table') => boolean

/**
 * One dispatch process over the driver's world: the step, with a table of its own, writes in flight, and what the
 * runner does around it when the group assigns partitions.
 */
export class TestDispatcher {
  /** Its table as stored. */
  readonly table = new Map<ItemId, ItemEntry>()
  readonly positions = new Map<Partition, MutationPosition>()
  paused = false
  tailsPaused = false
  stop: Effects['stop'] = null
  readonly #world: DispatchTestDriver
  readonly #number: number
  #state: DispatchState
  /** Epoch of the assignment it goes by. A zombie's is not the group's. */
  #epoch = -1
  #inFlight: Effects[] = []
  /** Steps whose effects are durable and whose table changes are not stored yet. */
  #written: Effects[] = []
  readonly #commits = new Map<Partition, Offset>()
  #changes = new Map<ItemId, ItemEntry | null>()
  readonly #catalogRead = new Map<Partition, Offset>()
  readonly #tailRead = new Map<Partition, Offset>()
  readonly #mutationsRead = new Map<Partition, Offset>()
  readonly #catchingUp = new Map<Partition, Offset>()

  constructor(world: DispatchTestDriver, number: number) {
    this.#world = world
    this.#number = number
    this.#state = newDispatchState(world.settings, itemId => this.entry(itemId))
  }

  get state(): DispatchState {
    return this.#state
  }

  entry(itemId: ItemId): ItemEntry | undefined {
    const changed = this.#changes.get(itemId)
    return changed === undefined ? this.table.get(itemId) : (changed ?? undefined)
  }

  /** Goes by the group's assignment. Of what stays the reader may deliver again from the commit on. */
  follow(redelivers = false): void {
    const { epoch, durable } = this.#world
    if (this.#epoch === epoch) return
    this.#epoch = epoch
    const owned = new Set(this.#world.partitionsOf(this.#number))
    for (const { partition, committed } of this.#state.partitions.values()) {
      if (!owned.has(partition)) continue
      const groups = durable.commits.get(partition) ?? asOffset(0)
      if (redelivers) this.#catalogRead.set(partition, groups)
      if (groups <= committed) continue
      this.#commits.delete(partition)
      this.#catchUp(partition)
    }
    this.#assign([...this.#state.partitions.keys()].filter(partition => !owned.has(partition)))
  }

  /** Reads up to `count` records of each catalog partition, unless it paused. */
  readCatalog(count = Number.POSITIVE_INFINITY): void {
    if (this.paused) return
    const flowing = [...this.#state.partitions.keys()].filter(partition => !this.#catchingUp.has(partition))
    const records = flowing.flatMap(partition => {
      const read = this.#world.catalogFrom(partition, this.#catalogRead.get(partition)!, count)
      const last = read.at(-1)
      if (last) this.#catalogRead.set(partition, asOffset(last.record.offset + 1))
      return read
    })
    this.feed({ type: 'catalog', records, nowMs: this.#world.nowMs })
  }

  /** Reads up to `count` records of each tail; as long as the assignment lasts, also when all before it is read. */
  readTail(count = Number.POSITIVE_INFINITY): void {
    if (this.tailsPaused) return
    const flowing = [...this.#tailRead].filter(([partition]) => !this.#catchingUp.has(partition))
    const records = flowing.flatMap(([partition, from]) => {
      const read = this.#world.catalogFrom(partition, from, count)
      const last = read.at(-1)
      if (last) this.#tailRead.set(partition, asOffset(last.record.offset + 1))
      return read
    })
    this.feed({ type: 'catalog', records, isTail: true, nowMs: this.#world.nowMs })
  }

  /** Reads up to `count` records of each mutation partition. */
  readMutations(count = Number.POSITIVE_INFINITY): void {
    const records = [...this.#state.partitions.keys()].flatMap(partition => {
      const read = this.#world.mutationsFrom(partition, this.#mutationsRead.get(partition)!, count)
      const last = read.at(-1)
      if (last) this.#mutationsRead.set(partition, asOffset(last.record.offset + 1))
      else this.#catchingUp.delete(partition)
      return read
    })
    this.feed({ type: 'mutations', records, nowMs: this.#world.nowMs })
    for (const [partition, end] of this.#catchingUp)
      if (this.#mutationsRead.get(partition)! >= end) this.#catchingUp.delete(partition)
  }

  /** Its timer fires. */
  tick(): void {
    const { nowMs, catalogEnds: ends } = this.#world
    this.feed({ type: 'tick', nowMs })
    this.feed({ type: 'ends', ends, nowMs })
    this.feed({ type: 'sweep', itemIds: [...new Set([...this.table.keys(), ...this.#changes.keys()])], nowMs })
  }

  /** The writes in flight become durable, and before them, as a checkpoint, the changes of earlier ones. */
  flush(): void {
    while (this.#inFlight.length > 0) {
      const effects = this.#inFlight
      this.#inFlight = []
      this.#checkpoint()
      for (const one of effects) this.#world.persist(one, () => true)
      this.#written.push(...effects)
      const letters = effects.flatMap(one => one.letters)
      if (letters.length > 0) this.feed({ type: 'lettersWritten', letters, nowMs: this.#world.nowMs })
    }
    this.#commit()
  }

  /** Dies with its memory; of the writes in flight those pieces stay that survive. It starts again. */
  crash(survives: Survives): void {
    const lost = this.#inFlight
    this.#inFlight = []
    if (survives('table')) this.#checkpoint()
    for (const effects of lost) this.#world.persist(effects, survives)
    for (const partition of this.#commits.keys()) if (!survives('commit')) this.#commits.delete(partition)
    this.#commit()
    this.restart()
    this.readMutations()
  }

  restart(): void {
    this.#written = []
    this.#commits.clear()
    this.#changes = new Map()
    this.#catchingUp.clear()
    this.#tailRead.clear()
    this.paused = false
    this.tailsPaused = false
    this.#state = newDispatchState(this.#world.settings, itemId => this.entry(itemId))
    this.#epoch = this.#world.epoch
    this.#assign([])
  }

  feed(input: DispatchInput): Effects {
    const effects = step(this.#state, input)
    if (effects.flow) this.paused = effects.flow === 'pause'
    if (effects.tailFlow) this.tailsPaused = effects.tailFlow === 'pause'
    this.stop ??= effects.stop
    this.#world.onJobs(effects.jobs)
    for (const [itemId, entry] of effects.table) this.#changes.set(itemId, entry)
    for (const [partition, offset] of effects.commits) this.#commits.set(partition, offset)
    this.#inFlight.push(effects)
    if (!this.#world.heldWrites) this.flush()
    return effects
  }

  #assign(lost: readonly Partition[]): void {
    for (const partition of lost) {
      this.#catchingUp.delete(partition)
      this.#commits.delete(partition)
      this.#inFlight = this.#inFlight.map(effects => withoutWatermark(effects, partition))
    }
    const { commits } = this.#world.durable
    const committed = new Map(
      Array.from(
        this.#state.partitions.keys(),
        partition => [partition, commits.get(partition) ?? asOffset(0)] as const,
      ),
    )
    this.feed({ type: 'assignment', lost, gained: [], committed, nowMs: this.#world.nowMs })
    const gained = this.#world
      .partitionsOf(this.#number)
      .filter(partition => !this.#state.partitions.has(partition))
      .map(partition => this.#arrived(partition))
    for (const partition of lost) this.#tailRead.delete(partition)
    for (const { partition, catalogFrom, tailFrom, mutationsFrom } of gained) {
      this.#catalogRead.set(partition, catalogFrom)
      if (tailFrom !== null) this.#tailRead.set(partition, tailFrom)
      this.#mutationsRead.set(partition, mutationsFrom.next)
      this.#catchUp(partition)
    }
    this.feed({ type: 'assignment', lost: [], gained, committed: new Map(), nowMs: this.#world.nowMs })
  }

  #catchUp(partition: Partition): void {
    const end = this.#world.durable.ends[partition]!
    if (this.#mutationsRead.get(partition)! < end) this.#catchingUp.set(partition, end)
  }

  #arrived(partition: Partition): AssignedPartition {
    const { durable, catalogEnds, nowMs, settings } = this.#world
    const stored = this.positions.get(partition)
    const isOld =
      stored !== undefined &&
      (stored.next < this.#world.mutationStart(partition) ||
        nowMs - stored.appendTimeMs > settings.tombstoneRetentionMs / 2)
    if (isOld) this.#discard(partition)
    const catalogFrom = durable.commits.get(partition) ?? asOffset(0)
    const catalogEnd = catalogEnds.get(partition)!
    return {
      partition,
      catalogFrom,
      tailFrom: tailFromOf(settings, { partition, catalogFrom, end: catalogEnd }),
      mutationsFrom: this.positions.get(partition) ?? {
        next: asOffset(0),
        appendTimeMs: 0,
        highestVersion: asOffset(-1),
      },
      catalogEnd,
      isShared: true,
      expectMarker: catalogFrom === 0,
    }
  }

  #discard(partition: Partition): void {
    for (const entries of [this.table, this.#changes])
      for (const itemId of entries.keys()) if (this.#world.partitionOf(itemId) === partition) entries.delete(itemId)
    for (const { table, positions } of [...this.#written, ...this.#inFlight]) {
      for (const itemId of table.keys()) if (this.#world.partitionOf(itemId) === partition) table.delete(itemId)
      positions.delete(partition)
    }
    this.positions.delete(partition)
  }

  /** The group refuses the commits of a zombie; they wait until it knows better. */
  #commit(): void {
    if (this.#epoch !== this.#world.epoch) return
    for (const [partition, offset] of this.#commits) this.#world.commit(partition, offset)
    this.#commits.clear()
  }

  /** Stores what the table became by steps whose effects are durable. */
  #checkpoint(): void {
    for (const effects of this.#written) {
      for (const [itemId, entry] of effects.table)
        if (entry) this.table.set(itemId, entry)
        else this.table.delete(itemId)
      for (const [partition, position] of effects.positions) this.positions.set(partition, position)
    }
    this.#written = []
  }
}

function withoutWatermark(effects: Effects, partition: Partition): Effects {
  const isOf = ({ partition: of, mutation }: Effects['appends'][number]) =>
    of === partition && mutation?.type === 'Watermark'
  return { ...effects, appends: effects.appends.filter(append => !isOf(append)) }
}
