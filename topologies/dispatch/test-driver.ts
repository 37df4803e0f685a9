import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import type { EmbedJob } from '../../schemas/embed-job.ts'
import { asOffset, asPartition, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import { type Mutation, mutationKey, type Watermark } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import type { LogRecord } from '../event-log.ts'
import {
  type CatalogRecord,
  type DispatchSettings,
  type DispatchState,
  defaultDispatchSettings,
  type Effects,
  type LetterAppend,
  type MutationRecord,
  type RedriveOutcome,
} from './dispatch-state.ts'
import type { ItemEntry } from './item-entry.ts'
import { type Survives, TestDispatcher } from './test-dispatcher.ts'
import {
  type DrivenMutation,
  failureOf,
  objectsOf,
  testEpoch,
  testFingerprint,
  testGeneration,
} from './test-records.ts'

export interface DriverOptions {
  readonly partitionCount?: number
  readonly settings?: Partial<DispatchSettings>
  /** Dispatch processes in the group; the first has all partitions until `rebalance`. */
  readonly dispatchers?: number
  /** Without it, what a step wants is durable at once, as one transaction. With it, only after `flush`. */
  readonly heldWrites?: boolean
}

type CatalogContent = CatalogRecord['content']

interface DrivenCatalogRecord {
  readonly record: LogRecord
  readonly content: CatalogContent
}

interface Durable {
  readonly mutations: DrivenMutation[][]
  readonly ends: Offset[]
  readonly queue: Map<string, EmbedJob>
  readonly hints: Map<ItemId, Offset>
  readonly letters: LetterAppend[]
  readonly commits: Map<Partition, Offset>
}

/**
 * Drives the step with logs, queue and table in memory and time moved by hand. Nothing happens by itself: records are
 * read, jobs run, time passes, partitions move and crashes come when the test says so. What is asked of the driver
 * itself is asked of its first dispatcher.
 */
export class DispatchTestDriver {
  readonly partitionCount: number
  readonly settings: DispatchSettings
  readonly heldWrites: boolean
  /** Per partition, every event ever published. */
  readonly catalog: DrivenCatalogRecord[][]
  /** Every mutation record ever appended, before any log compaction, in order of appending. */
  readonly history: DrivenMutation[] = []
  readonly durable: Durable
  readonly dispatchers: readonly TestDispatcher[]
  readonly first: TestDispatcher
  nowMs = 1_000_000
  /** Called with the jobs of each step. */
  onJobs: (jobs: Effects['jobs']) => void = () => {}
  readonly #compactedAway: Set<Offset>[]
  /** Keys of `history`. */
  readonly #everAppended = new Set<string>()
  /** Per partition: end of what any dispatcher has read. */
  readonly #everRead = new Map<Partition, number>()
  /** Number of the owner per partition. */
  #owners: readonly number[]
  #epoch = 1

  constructor({ partitionCount = 2, settings = {}, dispatchers = 1, heldWrites = false }: DriverOptions = {}) {
    this.partitionCount = partitionCount
    this.heldWrites = heldWrites
    this.settings = {
      ...defaultDispatchSettings,
      generation: testGeneration,
      acceptance: { fingerprint: testFingerprint, dims: 4, topicEpoch: testEpoch },
      partitionCount,
      backfillUntil: [],
      ...settings,
    }
    const partitions = Array.from({ length: partitionCount }, (_, number) => asPartition(number))
    this.catalog = partitions.map(() => [])
    this.#compactedAway = partitions.map(() => new Set())
    this.#owners = partitions.map(() => 0)
    this.durable = {
      mutations: partitions.map(() => []),
      ends: partitions.map(() => asOffset(0)),
      queue: new Map(),
      hints: new Map(),
      letters: [],
      commits: new Map(),
    }
    for (const partition of partitions)
      this.publishTo(partition, null, { kind: 'event', event: { type: 'TopicEpoch', epoch: testEpoch } })
    this.dispatchers = Array.from({ length: dispatchers }, (_, number) => new TestDispatcher(this, number))
    this.first = this.dispatchers[0]!
    for (const dispatcher of this.dispatchers) dispatcher.restart()
  }

  get state(): DispatchState {
    return this.first.state
  }

  get paused(): boolean {
    return this.first.paused
  }

  get stop(): Effects['stop'] {
    return this.first.stop
  }

  /** Epoch of the group's assignment. */
  get epoch(): number {
    return this.#epoch
  }

  /** Numbers go round, so that one script fits any number of them. */
  dispatcher(number: number): TestDispatcher {
    return this.dispatchers[number % this.dispatchers.length]!
  }

  ownerOf(partition: Partition): TestDispatcher {
    return this.dispatcher(this.#owners[partition]!)
  }

  get catalogEnds(): ReadonlyMap<Partition, Offset> {
    return new Map(this.catalog.map((all, partition) => [asPartition(partition), asOffset(all.length)]))
  }

  /** The group gives each partition to the dispatcher of that number. Who does not `follow` is a zombie. */
  rebalance(owners: readonly number[]): void {
    this.#owners = owners
    this.#epoch++
  }

  partitionsOf(dispatcher: number): readonly Partition[] {
    const count = this.dispatchers.length
    return this.#owners.flatMap((owner, partition) => (owner % count === dispatcher ? [asPartition(partition)] : []))
  }

  partitionOf(itemId: ItemId): Partition {
    return partitionOf(itemId, this.partitionCount)
  }

  publish(event: Exclude<CatalogEvent, { type: 'TopicEpoch' }>): Offset {
    const partition = partitionOf(event.itemId, this.partitionCount)
    return this.publishTo(partition, event.itemId, { kind: 'event', event })
  }

  publishTo(
    partition: Partition,
    key: string | null,
    content: CatalogContent,
    bytes = Buffer.from(content.kind),
  ): Offset {
    const records = this.catalog[partition]!
    const offset = asOffset(records.length)
    const record = {
      topic: catalogTopic,
      partition,
      offset,
      appendTimeMs: this.nowMs,
      key: key === null ? null : Buffer.from(key),
      value: content.kind === 'tombstone' ? null : bytes,
      headers: {},
    }
    records.push({ record, content })
    return offset
  }

  /**
   * Log compaction of the catalog: of each item only the last event is left, except for what was read but left no
   * trace in the mutation log. That is read again before `min.compaction.lag` has passed.
   */
  compactCatalog(): void {
    for (const [partition, all] of this.catalog.entries()) {
      const last = new Map(all.map(({ record }) => [record.key?.toString(), record.offset]))
      for (const { record } of all) {
        if (record.key === null || last.get(record.key.toString()) === record.offset) continue
        const isTraced = ['a', 'x'].some(register =>
          this.#everAppended.has(`${register}:${record.key}@${record.offset}`),
        )
        if (isTraced || !this.#isRead(asPartition(partition), record.offset))
          this.#compactedAway[partition]!.add(record.offset)
      }
    }
  }

  #isRead(partition: Partition, offset: Offset): boolean {
    return offset < (this.#everRead.get(partition) ?? 0)
  }

  catalogFrom(partition: Partition, from: Offset, count: number): readonly DrivenCatalogRecord[] {
    const gone = this.#compactedAway[partition]!
    const records = this.catalog[partition]!.slice(from)
      .filter(({ record }) => !gone.has(record.offset))
      .slice(0, count)
    const readTo = (records.at(-1)?.record.offset ?? -1) + 1
    this.#everRead.set(partition, Math.max(readTo, this.#everRead.get(partition) ?? 0))
    return records
  }

  mutationsFrom(partition: Partition, from: Offset, count: number): readonly MutationRecord[] {
    return this.durable.mutations[partition]!.filter(({ offset }) => offset >= from)
      .slice(0, count)
      .map(driven => ({ record: recordOf(partition, driven), content: contentOf(driven) }))
  }

  /** First offset in the mutation log. */
  mutationStart(partition: Partition): Offset {
    return this.durable.mutations[partition]![0]?.offset ?? this.durable.ends[partition]!
  }

  readCatalog(count?: number): void {
    this.first.readCatalog(count)
  }

  readMutations(count?: number): void {
    this.first.readMutations(count)
  }

  flush(): void {
    for (const dispatcher of this.dispatchers) dispatcher.flush()
  }

  crash(survives: Survives): void {
    this.first.crash(survives)
  }

  /** Time passes, then the timers fire. */
  tick(passedMs: number): void {
    this.nowMs += passedMs
    for (const dispatcher of this.dispatchers) dispatcher.tick()
  }

  redrive(job: EmbedJob): RedriveOutcome | null {
    return this.first.feed({ type: 'redrive', job, nowMs: this.nowMs }).redriven
  }

  /** What a worker would do with the job now: run it, or drop it because something newer has come. */
  isSuperseded(job: EmbedJob, supersedeForMs = 10_000): boolean {
    const hint = this.durable.hints.get(job.itemId) ?? -1
    return hint > job.version.offset && this.nowMs - job.pendingSinceMs < supersedeForMs
  }

  /** A worker takes the job and ends it: with objects, with a failure, or without a result. */
  runJob(
    id: string,
    outcome: 'finish' | 'fail' | 'failRetryable' | 'drop',
    options: { duplicate?: boolean } = {},
  ): void {
    const job = this.durable.queue.get(id)
    if (!job) throw new Error(`no job ${id} in ${[...this.durable.queue.keys()].join(', ')}`)
    if (!options.duplicate) this.durable.queue.delete(id)
    if (outcome === 'finish') this.append(job.partition, objectsOf(job))
    else if (outcome !== 'drop') this.append(job.partition, failureOf(job, outcome === 'failRetryable'))
  }

  /** A record reaches the mutation log, from a worker or anyone. */
  append(partition: Partition, mutation: Mutation | null, key = mutation ? mutationKey(mutation) : ''): void {
    const offset = this.durable.ends[partition]!
    this.durable.ends[partition] = asOffset(offset + 1)
    const driven = { offset, appendTimeMs: this.nowMs, key, mutation }
    this.durable.mutations[partition]!.push(driven)
    this.history.push(driven)
    this.#everAppended.add(key)
  }

  /**
   * Log compaction of a leading part of each partition, 0 to 1: what a later record of its key within the part has
   * replaced goes, and nulls that stand alone go too, as they do once they are old.
   */
  compact(part = 1): void {
    for (const [partition, records] of this.durable.mutations.entries()) {
      const cleaned = records.slice(0, Math.ceil(records.length * part))
      const last = new Map(cleaned.map(({ key, offset }) => [key, offset]))
      const kept = cleaned.filter(({ key, offset, mutation }) => last.get(key) === offset && mutation !== null)
      this.durable.mutations[partition] = [...kept, ...records.slice(cleaned.length)]
    }
  }

  /** False when log compaction has taken the event away: then nobody can be asked to apply it. */
  isInCatalog(partition: Partition, offset: Offset): boolean {
    return !this.#compactedAway[partition]!.has(offset)
  }

  entry(itemId: ItemId): ItemEntry | undefined {
    return this.first.entry(itemId)
  }

  jobIds(): readonly string[] {
    return [...this.durable.queue.keys()]
  }

  lastWatermark(partition: Partition): Watermark | undefined {
    const found = this.history.findLast(({ key }) => key === `w:${partition}`)?.mutation
    return found?.type === 'Watermark' ? found : undefined
  }

  /** Those pieces of a step's effects that survive become durable. */
  persist(effects: Effects, survives: Survives): void {
    const { queue, hints, letters } = this.durable
    for (const { partition, key, mutation } of effects.appends)
      if (survives('append')) this.append(partition, mutation, key)
    for (const { id, job } of effects.jobs) if (survives('job') && !queue.has(id)) queue.set(id, job)
    for (const { itemId, offset } of effects.hints)
      if (survives('hint')) hints.set(itemId, asOffset(Math.max(offset, hints.get(itemId) ?? -1)))
    for (const letter of effects.letters) if (survives('letter')) letters.push(letter)
  }

  commit(partition: Partition, offset: Offset): void {
    const before = this.durable.commits.get(partition) ?? 0
    if (offset < before) throw new Error(`the commit of partition ${partition} went from ${before} back to ${offset}`)
    this.durable.commits.set(partition, offset)
  }
}

function recordOf(partition: Partition, { offset, appendTimeMs, key, mutation }: DrivenMutation): LogRecord {
  const value = mutation === null ? null : Buffer.from(mutation.type)
  return {
    topic: mutationTopic(testGeneration),
    partition,
    offset,
    appendTimeMs,
    key: Buffer.from(key),
    value,
    headers: {},
  }
}

function contentOf({ mutation }: DrivenMutation) {
  return mutation === null ? ({ kind: 'ignored' } as const) : ({ kind: 'mutation', mutation } as const)
}
