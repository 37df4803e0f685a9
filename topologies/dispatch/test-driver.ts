import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import type { EmbedJob } from '../../schemas/embed-job.ts'
import { asOffset, asPartition, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import { type Mutation, mutationKey, type Watermark } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import type { LogRecord } from '../event-log.ts'
import {
  type AssignedPartition,
  type CatalogRecord,
  type DispatchInput,
  type DispatchSettings,
  type DispatchState,
  defaultDispatchSettings,
  type Effects,
  type LetterAppend,
  newDispatchState,
  type RedriveOutcome,
} from './dispatch-state.ts'
import type { ItemEntry } from './item-entry.ts'
import { step } from './step.ts'
import {
  type DrivenMutation,
  failureOf,
  objectsOf,
  testEpoch,
  testFingerprint,
  testGeneration,
} from './test-records.ts'

/** Which pieces of the writes in flight outlive a crash; `table` is the checkpoint of what was written before them. */
export type Survives = (piece: 'append' | 'job' | 'hint' | 'letter' | 'commit' | 'table') => boolean

export interface DriverOptions {
  readonly partitionCount?: number
  readonly settings?: Partial<DispatchSettings>
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
  readonly table: Map<ItemId, ItemEntry>
  readonly positions: Map<Partition, Offset>
  readonly commits: Map<Partition, Offset>
}

/**
 * Drives the step with logs, queue and table in memory and time moved by hand. Nothing happens by itself: records are
 * read, jobs run, time passes and crashes come when the test says so.
 */
export class DispatchTestDriver {
  readonly partitionCount: number
  readonly settings: DispatchSettings
  /** Per partition, every event ever published. */
  readonly catalog: DrivenCatalogRecord[][]
  /** Every mutation record ever appended, before any log compaction, in order of appending. */
  readonly history: DrivenMutation[] = []
  readonly durable: Durable
  nowMs = 1_000_000
  paused = false
  stop: Effects['stop'] = null
  /** Called with the jobs of each step. */
  onJobs: (jobs: Effects['jobs']) => void = () => {}
  readonly #heldWrites: boolean
  readonly #compactedAway: Set<Offset>[]
  /** Per partition: end of what any life of the dispatcher has read. */
  readonly #everRead: number[]
  #inFlight: Effects[] = []
  /** Steps whose effects are durable and whose table changes are not stored yet. */
  #written: Effects[] = []
  #table = new Map<ItemId, ItemEntry | null>()
  #state: DispatchState
  #catalogRead: Offset[] = []
  #mutationsRead: Offset[] = []

  constructor({ partitionCount = 2, settings = {}, heldWrites = false }: DriverOptions = {}) {
    this.partitionCount = partitionCount
    this.#heldWrites = heldWrites
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
    this.#everRead = partitions.map(() => 0)
    this.durable = {
      mutations: partitions.map(() => []),
      ends: partitions.map(() => asOffset(0)),
      queue: new Map(),
      hints: new Map(),
      letters: [],
      table: new Map(),
      positions: new Map(),
      commits: new Map(),
    }
    for (const partition of partitions)
      this.publishTo(partition, null, { kind: 'event', event: { type: 'TopicEpoch', epoch: testEpoch } })
    this.#state = this.#restarted()
  }

  get state(): DispatchState {
    return this.#state
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
   * Log compaction of the catalog: of each item only the last event is left, except for what the dispatcher has read
   * and not committed. That it reads again after a crash before `min.compaction.lag` has passed.
   */
  compactCatalog(): void {
    for (const [partition, all] of this.catalog.entries()) {
      const last = new Map(all.map(({ record }) => [record.key?.toString(), record.offset]))
      const committed = this.durable.commits.get(asPartition(partition)) ?? 0
      for (const { record } of all) {
        const isReadAgain = record.offset >= committed && record.offset < this.#everRead[partition]!
        if (record.key !== null && last.get(record.key.toString()) !== record.offset && !isReadAgain)
          this.#compactedAway[partition]!.add(record.offset)
      }
    }
  }

  /** The dispatcher reads up to `count` records of each catalog partition, unless it paused. */
  readCatalog(count = Number.POSITIVE_INFINITY): void {
    if (this.paused) return
    const records = this.catalog.flatMap((all, partition) => {
      const unread = all.slice(this.#catalogRead[partition]!)
      const read = unread.filter(({ record }) => !this.#compactedAway[partition]!.has(record.offset)).slice(0, count)
      const last = read.at(-1)
      if (last) this.#catalogRead[partition] = asOffset(last.record.offset + 1)
      this.#everRead[partition] = Math.max(this.#everRead[partition]!, this.#catalogRead[partition]!)
      return read
    })
    this.#feed({ type: 'catalog', records, nowMs: this.nowMs })
  }

  /** The dispatcher reads up to `count` records of each mutation partition. */
  readMutations(count = Number.POSITIVE_INFINITY): void {
    const records = this.durable.mutations.flatMap((all, number) => {
      const partition = asPartition(number)
      const unread = all.filter(({ offset }) => offset >= this.#mutationsRead[number]!).slice(0, count)
      const last = unread.at(-1)
      if (last) this.#mutationsRead[number] = asOffset(last.offset + 1)
      return unread.map(driven => ({ record: recordOf(partition, driven), content: contentOf(driven) }))
    })
    this.#feed({ type: 'mutations', records, nowMs: this.nowMs })
  }

  /** Time passes, then the dispatcher's timer fires. */
  tick(passedMs: number): void {
    this.nowMs += passedMs
    const ends = new Map(this.catalog.map((all, partition) => [asPartition(partition), asOffset(all.length)]))
    this.#feed({ type: 'tick', nowMs: this.nowMs })
    this.#feed({ type: 'ends', ends, nowMs: this.nowMs })
    this.#feed({
      type: 'sweep',
      itemIds: [...new Set([...this.durable.table.keys(), ...this.#table.keys()])],
      nowMs: this.nowMs,
    })
  }

  redrive(job: EmbedJob): RedriveOutcome | null {
    return this.#feed({ type: 'redrive', job, nowMs: this.nowMs }).redriven
  }

  /** The writes in flight become durable, and before them, as a checkpoint, the changes of earlier ones. */
  flush(): void {
    while (this.#inFlight.length > 0) {
      const effects = this.#inFlight
      this.#inFlight = []
      this.#checkpoint()
      for (const one of effects) this.#persist(one, () => true)
      this.#written.push(...effects)
      const letters = effects.flatMap(one => one.letters)
      if (letters.length > 0) this.#feed({ type: 'lettersWritten', letters, nowMs: this.nowMs })
    }
  }

  /** The dispatcher dies with its memory; of the writes in flight those pieces stay that survive. It starts again. */
  crash(survives: Survives): void {
    const lost = this.#inFlight
    this.#inFlight = []
    if (survives('table')) this.#checkpoint()
    this.#written = []
    for (const effects of lost) this.#persist(effects, survives)
    this.#state = this.#restarted()
    this.readMutations()
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
    return this.#lookup(itemId)
  }

  jobIds(): readonly string[] {
    return [...this.durable.queue.keys()]
  }

  lastWatermark(partition: Partition): Watermark | undefined {
    const found = this.history.findLast(({ key }) => key === `w:${partition}`)?.mutation
    return found?.type === 'Watermark' ? found : undefined
  }

  #lookup(itemId: ItemId): ItemEntry | undefined {
    const written = this.#table.get(itemId)
    return written === undefined ? this.durable.table.get(itemId) : (written ?? undefined)
  }

  /** The group gives this instance other partitions. */
  reassign(numbers: readonly Partition[]): void {
    this.#feed({ type: 'assignment', partitions: numbers.map(number => this.#assigned(number)), nowMs: this.nowMs })
  }

  #restarted(): DispatchState {
    this.#table = new Map()
    this.paused = false
    this.#state = newDispatchState(this.settings, itemId => this.#lookup(itemId))
    const partitions = this.catalog.map((_, number) => this.#assigned(asPartition(number)))
    this.#catalogRead = partitions.map(one => one.catalogFrom)
    this.#mutationsRead = partitions.map(one => one.mutationsFrom)
    this.#feed({ type: 'assignment', partitions, nowMs: this.nowMs })
    return this.#state
  }

  #assigned(partition: Partition): AssignedPartition {
    const catalogFrom = this.durable.commits.get(partition) ?? asOffset(0)
    return {
      partition,
      catalogFrom,
      mutationsFrom: this.durable.positions.get(partition) ?? asOffset(0),
      catalogEnd: asOffset(this.catalog[partition]!.length),
      expectMarker: catalogFrom === 0,
    }
  }

  #feed(input: DispatchInput): Effects {
    const effects = step(this.#state, input)
    if (effects.flow) this.paused = effects.flow === 'pause'
    this.stop ??= effects.stop
    this.onJobs(effects.jobs)
    for (const [itemId, entry] of effects.table) this.#table.set(itemId, entry)
    this.#inFlight.push(effects)
    if (!this.#heldWrites) this.flush()
    return effects
  }

  #persist(effects: Effects, survives: Survives): void {
    const { durable } = this
    for (const { partition, key, mutation } of effects.appends)
      if (survives('append')) this.append(partition, mutation, key)
    for (const { id, job } of effects.jobs) if (survives('job') && !durable.queue.has(id)) durable.queue.set(id, job)
    for (const { itemId, offset } of effects.hints)
      if (survives('hint')) durable.hints.set(itemId, asOffset(Math.max(offset, durable.hints.get(itemId) ?? -1)))
    for (const letter of effects.letters) if (survives('letter')) durable.letters.push(letter)
    for (const [partition, offset] of effects.commits) if (survives('commit')) durable.commits.set(partition, offset)
  }

  /** Stores what the table became by steps whose effects are durable. */
  #checkpoint(): void {
    const { table, positions } = this.durable
    for (const effects of this.#written) {
      for (const [itemId, entry] of effects.table)
        if (entry) table.set(itemId, entry)
        else table.delete(itemId)
      for (const [partition, offset] of effects.positions) positions.set(partition, offset)
    }
    this.#written = []
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
