import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../../schemas/ids.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import type { EventLog, LogReader } from '../event-log.ts'
import { type Arrived, arrive, catalogOffsets } from './arrival.ts'
import { type CatalogOffsets, requireCommitsInLog } from './check-markers.ts'
import type { CatalogRecord, DispatchInput, DispatchState } from './dispatch-state.ts'
import { dispatchGroup } from './group.ts'
import type { ItemTable } from './item-table.ts'
import { isPassing, type Pauses } from './passing-failure.ts'
import { decodeCatalog, decodeMutations } from './record-decoder.ts'
import type { TablePruning } from './table-pruning.ts'

export interface IntakePorts {
  readonly log: EventLog
  /** ms since 1970. */
  readonly clock: () => number
  readonly codecs: { readonly catalog: RecordCodec<CatalogEvent>; readonly mutations: RecordCodec<Mutation> }
}

export interface IntakeOptions {
  readonly partitions: 'all' | 'group'
  /** Records taken from a reader at once. */
  readonly batchRecords: number
  /** Read only: which partitions the step has, and how far they are. */
  readonly state: DispatchState
  readonly table: ItemTable
  /** Null where this process has all partitions. */
  readonly pruning: TablePruning | null
  /** Before a partition arrives that nobody has dispatched yet. Null where there is nothing to be done then. */
  readonly copy: ((partition: Partition, isOver: () => boolean) => Promise<void>) | null
  readonly signal: AbortSignal
  readonly pauses: Pauses
  /** Resolves when more effects can be taken. */
  readonly room: () => Promise<void>
  readonly feed: (input: DispatchInput) => void
  /** Commits and watermarks decided for these must not be written any more. */
  readonly forget: (partitions: readonly Partition[]) => void
  /** An error that will not pass. Nothing is read after it. */
  readonly onFailure: (error: FreshetError) => void
}

const pollWaitMs = 1_000

/**
 * The reading side of a dispatcher: catalog and mutation log of the partitions that are assigned to it. A partition is
 *
 * - **arriving** from the moment the group has given it: its offsets, epoch marker and table are looked at. One of
 *   which nothing was ever committed is copied into before (`copy`), one after the other while others flow; cut short
 *   by a crash or a new assignment, it is copied again as a whole;
 * - **catching up** from the `assignment` input on: its mutation log is read to where it ended then;
 * - **flowing**: both logs are read;
 * - lost, at any time: forgotten with what was read of it, and arriving again should it come back.
 *
 * Live events are read beside a backlog that lies before them, by a reader of their own that begins at the tails, until
 * the other one has come as far (ops/decisions/0021).
 *
 * Only flowing partitions are not paused in the catalog readers, from the moment an assignment is noticed. The catalog
 * loop alone notices one, right after the poll in which it came, so the records in its hand are never of an ownership
 * that ended in between. `#follow` runs beside it: what stays is read meanwhile.
 *
 * Commits are held back from the moment the reader knows of a new assignment until it is followed. Another process may
 * have owned a partition between two assignments that both hold it. When the group's commit is above our own, it has:
 * then no commit goes below that one, and the partition catches up once more, because the reader may go on above what
 * this process has read.
 */
export class Intake {
  readonly #ports: IntakePorts
  readonly #options: IntakeOptions
  #catalog: LogReader | null = null
  #mutations: LogReader | null = null
  /** Of the catalog's tails; null where there is no backlog before them. */
  #tails: LogReader | null = null
  /** Epochs of the catalog reader's assignment. */
  #noticedEpoch = 0
  #followedEpoch = 0
  #assigned: ReadonlySet<Partition> = new Set()
  /** Where the mutation log ended at the assignment. */
  readonly #catchingUp = new Map<Partition, Offset>()
  /** Assigned, and copied into first; where the catalog ended when that was seen. */
  readonly #copying = new Map<Partition, Offset>()
  #changed = Promise.withResolvers<void>()
  readonly #running = new Set<Promise<void>>()
  /** Of loops that are pausing, each under its turn. */
  readonly #passing = new Map<() => Promise<void>, FreshetError>()

  constructor(ports: IntakePorts, options: IntakeOptions) {
    this.#ports = ports
    this.#options = options
  }

  /** Epoch of the assignment that is followed; 0 before the first. */
  get epoch(): number {
    return this.#followedEpoch
  }

  /** Why reading pauses now, to be tried again; null when it does not. */
  get passingFailure(): FreshetError | null {
    return this.#passing.values().next().value ?? null
  }

  isCatchingUp(partition: Partition): boolean {
    return this.#catchingUp.has(partition)
  }

  /** Partitions that are copied into before they arrive, with the end of the catalog's. */
  get copying(): ReadonlyMap<Partition, Offset> {
    return this.#copying
  }

  /** Takes in what is assigned at once, begins to read. @throws FreshetError `topic-epoch` | `topic-mismatch` | `topic-missing` | `offset-out-of-range` | storage codes */
  async open(): Promise<void> {
    const { log } = this.#ports
    const { state, partitions } = this.#options
    const { generation, partitionCount } = state.settings
    await this.#requirePartitionCounts()
    requireCommitsInLog(await catalogOffsets(log, state.settings))
    const all = Array.from({ length: partitionCount }, (_, number) => asPartition(number))
    this.#catalog = await log.openReader({
      topic: catalogTopic,
      partitions: partitions === 'all' ? all : 'group',
      group: dispatchGroup(generation),
      from: 'committed',
    })
    this.#notice(this.#catalog)
    await this.#follow('without copies')
    this.#track(this.#followCatalog(this.#catalog))
    this.#track(this.#followAssignment())
  }

  /** Leaves the group, resolves when reading has ended; the signal was given before. Repeatable. */
  async close(): Promise<void> {
    this.#changed.resolve()
    await Promise.allSettled([this.#catalog?.close(), this.#mutations?.close(), this.#tails?.close()])
    await Promise.all(this.#running)
  }

  /** Pauses or goes on as the step's state says: backpressure. */
  control(): void {
    const { paused, tailsPaused } = this.#options.state
    this.#flow(this.#catalog, paused)
    this.#flow(this.#tails, tailsPaused)
  }

  #flow(reader: LogReader | null, isPaused: boolean): void {
    const { flowing = [], others = [] } = Object.groupBy(this.#assigned, partition =>
      !isPaused && this.#isFlowing(partition) ? 'flowing' : 'others',
    )
    reader?.pause(others)
    reader?.resume(flowing)
  }

  /** @throws FreshetError `not-ready` while the group assigns anew: what was decided before may be another's by now; log codes */
  async commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void> {
    if (this.#catalog?.assignment().epoch !== this.#followedEpoch)
      throw new FreshetError('not-ready', 'the group assigns its partitions anew: commits wait')
    await this.#catalog.commit(offsets)
  }

  #isFlowing(partition: Partition): boolean {
    if (this.#followedEpoch !== this.#noticedEpoch || this.#catchingUp.has(partition)) return false
    return this.#options.state.partitions.has(partition)
  }

  async #followCatalog(reader: LogReader): Promise<void> {
    const { batchRecords, feed, pauses, room, signal } = this.#options
    await this.#repeat(
      async () => {
        await room()
        const records = await reader.poll(batchRecords, pollWaitMs)
        this.#notice(reader)
        // What stays is delivered from its commit on with each assignment: most of that the step has.
        const unread = records.filter(one => one.offset >= this.#positionOf(one.partition))
        if (unread.length > 0) {
          const decoded = await decodeCatalog(unread, this.#ports.codecs.catalog, pauses)
          feed({ type: 'catalog', records: decoded, nowMs: this.#ports.clock() })
        }
        this.#endTails(reader)
      },
      () => signal.aborted,
    )
  }

  #positionOf(partition: Partition): Offset {
    return this.#options.state.partitions.get(partition)?.window.position ?? asOffset(0)
  }

  /** Forgets at once what was lost. */
  #notice(reader: LogReader): void {
    const { epoch, partitions } = reader.assignment()
    if (epoch === this.#noticedEpoch) return
    this.#noticedEpoch = epoch
    this.#assigned = new Set(partitions)
    this.#copying.clear()
    this.#options.pruning?.own(this.#assigned, this.#ports.clock())
    this.#lose([...this.#options.state.partitions.keys()].filter(partition => !this.#assigned.has(partition)))
    this.control()
    this.#changed.resolve()
  }

  #lose(lost: readonly Partition[]): void {
    if (lost.length === 0) return
    for (const partition of lost) this.#catchingUp.delete(partition)
    this.#mutations?.pause(lost)
    this.#tails?.pause(lost)
    this.#options.forget(lost)
    this.#assign({ lost })
  }

  #assign(change: Partial<Extract<DispatchInput, { type: 'assignment' }>>): void {
    const nothing = { lost: [], gained: [], committed: new Map() }
    this.#options.feed({ ...nothing, ...change, type: 'assignment', nowMs: this.#ports.clock() })
  }

  async #followAssignment(): Promise<void> {
    const { signal } = this.#options
    await this.#repeat(
      async () => {
        await this.#changed.promise
        if (signal.aborted) return
        await this.#follow()
      },
      () => signal.aborted,
    )
  }

  /** Lets what stays flow again, then takes in what arrives; ends when there is a newer assignment. */
  async #follow(mode: 'without copies' | 'all' = 'all'): Promise<void> {
    const epoch = this.#noticedEpoch
    const isOver = () => epoch !== this.#noticedEpoch || this.#options.signal.aborted
    const { state } = this.#options
    const offsets = await catalogOffsets(this.#ports.log, state.settings)
    requireCommitsInLog(offsets)
    const overtaken = [...state.partitions.values()]
      .filter(one => committedOf(offsets, one.partition) > one.committed)
      .map(one => one.partition)
    const mutationOffsets = await this.#ports.log.offsets(mutationTopic(state.settings.generation))
    if (isOver()) return
    this.#options.forget(overtaken)
    for (const partition of overtaken) this.#catchingUp.set(partition, mutationOffsets.get(partition)!.end)
    const committed = new Map(Array.from(state.partitions.keys(), one => [one, committedOf(offsets, one)] as const))
    this.#followedEpoch = epoch
    this.#assign({ committed })
    this.#letFlow()
    const arriving = [...this.#assigned].filter(partition => !state.partitions.has(partition))
    const isCopied = (partition: Partition) => this.#options.copy === null || isCommitted(offsets, partition)
    const ready = arriving.filter(isCopied)
    if (ready.length > 0) await this.#takeIn(ready, offsets, isOver)
    if (isOver()) return
    const copying = arriving.filter(partition => !isCopied(partition))
    for (const partition of copying) this.#copying.set(partition, offsets.get(partition)?.end ?? asOffset(0))
    if (mode === 'all') for (const partition of copying) await this.#copyAndTakeIn(partition, isOver)
    else if (copying.length > 0) return
    if (!isOver()) this.#changed = Promise.withResolvers()
  }

  async #copyAndTakeIn(partition: Partition, isOver: () => boolean): Promise<void> {
    await this.#options.copy?.(partition, isOver)
    if (isOver()) return
    await this.#takeIn([partition], await catalogOffsets(this.#ports.log, this.#options.state.settings), isOver)
    if (!isOver()) this.#copying.delete(partition)
  }

  async #takeIn(
    arriving: readonly Partition[],
    offsets: ReadonlyMap<Partition, CatalogOffsets>,
    isOver: () => boolean,
  ): Promise<void> {
    const { log, codecs, clock } = this.#ports
    const { state, table, pruning, pauses, partitions } = this.#options
    await pruning?.settled()
    const arrived = await arrive(log, arriving, {
      settings: state.settings,
      offsets,
      isShared: partitions === 'group',
      table,
      codec: codecs.catalog,
      pauses,
      nowMs: clock(),
    })
    const tails = await this.#openTails(arrived)
    const reader = await this.#openMutations(arrived).catch(async thrown => {
      await tails?.close()
      throw thrown
    })
    if (isOver()) return void (await Promise.all([tails?.close(), reader.close()]))
    const former = [this.#mutations, this.#tails]
    this.#mutations = reader
    this.#tails = tails
    for (const { assigned, mutationsEnd } of arrived) this.#catchingUp.set(assigned.partition, mutationsEnd)
    this.#assign({ gained: arrived.map(({ assigned }) => assigned) })
    this.#letFlow()
    this.#track(this.#followMutations(reader))
    if (tails !== null) this.#track(this.#followTails(tails))
    for (const one of former) if (one !== null) this.#track(one.close().catch(() => undefined))
  }

  /** From where each tail is, as those of the mutation log below. */
  async #openTails(arrived: readonly Arrived[]): Promise<LogReader | null> {
    const from = new Map<Partition, Offset>()
    for (const { partition, window } of this.#options.state.partitions.values())
      if (window.tailPosition !== null) from.set(partition, window.tailPosition)
    for (const { assigned } of arrived) if (assigned.tailFrom !== null) from.set(assigned.partition, assigned.tailFrom)
    if (from.size === 0) return null
    return this.#ports.log.openReader({ topic: catalogTopic, partitions: [...from.keys()], from })
  }

  async #followTails(reader: LogReader): Promise<void> {
    const { batchRecords, feed, pauses, room, signal, state } = this.#options
    // Of a partition that was lost and came back, a former reader may hold records above those to be read next.
    const isOver = () => signal.aborted || reader !== this.#tails
    let held: readonly CatalogRecord[] = []
    await this.#repeat(async () => {
      await room()
      const records = await reader.poll(batchRecords, pollWaitMs)
      const unread = records.filter(one => {
        const { window } = state.partitions.get(one.partition) ?? {}
        return window !== undefined && one.offset >= window.nextOf(one.offset)
      })
      const decoded = await decodeCatalog(unread, this.#ports.codecs.catalog, pauses)
      if (isOver()) return
      // An assignment may have been noticed meanwhile, after which a partition catches up before it is read on.
      const inHand = Map.groupBy([...held, ...decoded], ({ record }) => this.#isFlowing(record.partition))
      held = inHand.get(false) ?? []
      const flowing = inHand.get(true) ?? []
      if (flowing.length > 0) feed({ type: 'catalog', records: flowing, isTail: true, nowMs: this.#ports.clock() })
    }, isOver)
  }

  /** Once what it has just read is as far in every partition, one reader is enough. */
  #endTails(catalog: LogReader): void {
    const tails = this.#tails
    if (tails === null) return
    const isBehind = (partition: Partition) => {
      const { window } = this.#options.state.partitions.get(partition) ?? {}
      return window !== undefined && (window.tailPosition !== null || catalog.position(partition) < window.position)
    }
    if (tails.assignment().partitions.some(isBehind)) return
    this.#tails = null
    this.#track(tails.close().catch(() => undefined))
  }

  /** From where each partition is: a little of what stays is read twice, and known by its offsets. */
  async #openMutations(arrived: readonly Arrived[]): Promise<LogReader> {
    const { settings, partitions } = this.#options.state
    const from = new Map<Partition, Offset>()
    for (const { partition, mutationPosition } of partitions.values()) from.set(partition, mutationPosition)
    for (const { assigned } of arrived) from.set(assigned.partition, assigned.mutationsFrom.next)
    return this.#ports.log.openReader({
      topic: mutationTopic(settings.generation),
      partitions: [...from.keys()],
      from,
    })
  }

  async #followMutations(reader: LogReader): Promise<void> {
    const { batchRecords, feed, pauses, room, signal } = this.#options
    const isOver = () => signal.aborted || reader !== this.#mutations
    await this.#repeat(async () => {
      await room()
      const records = await reader.poll(batchRecords, pollWaitMs)
      const decoded = await decodeMutations(records, this.#ports.codecs.mutations, pauses)
      // Of a partition that was lost and came back, a former reader may hold records above those to be read next.
      if (isOver()) return
      if (decoded.length > 0) feed({ type: 'mutations', records: decoded, nowMs: this.#ports.clock() })
      if (this.#catchingUp.size > 0) this.#letFlow()
    }, isOver)
  }

  #letFlow(): void {
    const reader = this.#mutations
    for (const [partition, end] of this.#catchingUp)
      if (reader && reader.position(partition) >= end) this.#catchingUp.delete(partition)
    this.control()
  }

  /** What never rejects. */
  #track(running: Promise<void>): void {
    this.#running.add(running)
    void running.finally(() => this.#running.delete(running))
  }

  async #repeat(turn: () => Promise<void>, isOver: () => boolean): Promise<void> {
    let attempts = 0
    while (!isOver())
      try {
        await turn()
        attempts = 0
        this.#passing.delete(turn)
      } catch (thrown) {
        const error = asFreshetError(thrown)
        if (isOver()) break
        if (!isPassing(error)) {
          this.#options.onFailure(error)
          break
        }
        this.#passing.set(turn, error)
        await this.#options.pauses.before(++attempts)
      }
    this.#passing.delete(turn)
  }

  async #requirePartitionCounts(): Promise<void> {
    const { partitionCount, generation } = this.#options.state.settings
    for (const topic of [catalogTopic, mutationTopic(generation)]) {
      const count = await this.#ports.log.partitionCount(topic)
      if (count !== partitionCount)
        throw new FreshetError(
          'topic-mismatch',
          `${topic} has ${count} partitions, the generation was started on ${partitionCount}`,
        )
    }
  }
}

function isCommitted(offsets: ReadonlyMap<Partition, CatalogOffsets>, partition: Partition): boolean {
  return (offsets.get(partition)?.committed ?? null) !== null
}

/** Next catalog offset to read for an owner who has read nothing yet. */
function committedOf(offsets: ReadonlyMap<Partition, CatalogOffsets>, partition: Partition): Offset {
  const { start, committed } = offsets.get(partition) ?? {}
  return committed ?? start ?? asOffset(0)
}
