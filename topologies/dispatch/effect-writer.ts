import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { encodeJob, supersedeHintKey } from '../../schemas/embed-job.ts'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { Generation, Offset, Partition } from '../../schemas/ids.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { deadLetterTopic, mutationTopic } from '../../schemas/topics.ts'
import { noTrace, type TraceHeaders, traceOf } from '../../schemas/trace-context.ts'
import type { EventLog, NewRecord } from '../event-log.ts'
import type { FeatureStore } from '../feature-store.ts'
import type { KeyValueStore } from '../key-value-store.ts'
import type { NewJob, WorkQueue } from '../work-queue.ts'
import type { Effects, LetterAppend } from './dispatch-state.ts'
import type { ItemTable } from './item-table.ts'
import { isPassing, type Pauses } from './passing-failure.ts'

export interface EffectPorts {
  readonly log: EventLog
  readonly queue: WorkQueue
  readonly features: FeatureStore
  readonly table: KeyValueStore
  /** ms since 1970. */
  readonly clock: () => number
  readonly codecs: { readonly mutations: RecordCodec<Mutation>; readonly deadLetters: RecordCodec<DeadLetter> }
}

export interface EffectWriterOptions {
  readonly generation: Generation
  readonly hintTtlMs: number
  /** Effects held beyond this many make `room` wait. */
  readonly maxHeld: number
  readonly commit: (offsets: ReadonlyMap<Partition, Offset>) => Promise<void>
  readonly onLettersWritten: (letters: readonly LetterAppend[]) => void
  /** An error that will not pass. Nothing is written after it. */
  readonly onFailure: (error: FreshetError) => void
  readonly pauses: Pauses
}

interface Batch {
  readonly mutations: NewRecord[]
  /** The newest of each partition. */
  readonly watermarks: Map<Partition, NewRecord>
  readonly jobs: NewJob[]
  readonly hints: Map<string, number>
  readonly letters: LetterAppend[]
  readonly letterRecords: NewRecord[]
}

/** A checkpoint goes with a batch when the last is so old, or so many entries have changed. */
const checkpointIntervalMs = 500
const checkpointEntries = 2_048

/**
 * Writes effects, one batch in flight; what comes meanwhile is the next batch. States: idle → writing → idle, or
 * writing → pausing (a failure that passes; what failed of the batch and what came since are one batch then) → writing.
 *
 * All writes of a batch are issued in one tick; on embedded storage they are one transaction. Elsewhere any part of a
 * batch may survive a crash without the others. Each such half is harmless, because an item's state only changes by
 * what is read back from the mutation log, and because the table is stored after the effects it stands for:
 * - appends or jobs without the rest: their records are read again and lead to the same keys and job ids. A finished
 *   job that the table has not heard of is adopted when read.
 * - hints lost: a job runs that could have been dropped.
 * - a checkpoint lost, or older than the commits: the mutations behind its positions are read again. An event is
 *   committed only when the log holds its outcome, so what is read again holds it too.
 * - commits lost: events are read again and find their own versions.
 * - dead letters are read back by nobody: their events stay in the window until the letters are durable.
 *
 * What was decided for a partition that has been lost since (`forget`): decision record 0011.
 */
export class EffectWriter {
  readonly #ports: EffectPorts
  readonly #table: ItemTable
  readonly #options: EffectWriterOptions
  #next = newBatch()
  #inFlight = newBatch()
  #commits = new Map<Partition, Offset>()
  #commitsInFlight = new Map<Partition, Offset>()
  #checkpointDueMs = 0
  /** The last one failed: it is not to wait for effects to come. */
  #owesCheckpoint = false
  #writing: Promise<void> | null = null
  #failure: FreshetError | null = null
  #passing: FreshetError | null = null
  #waiters: (() => void)[] = []
  #giveUp = false

  constructor(ports: EffectPorts, table: ItemTable, options: EffectWriterOptions) {
    this.#ports = ports
    this.#table = table
    this.#options = options
  }

  /** Why writing pauses now, to be tried again; null when it does not. */
  get passingFailure(): FreshetError | null {
    return this.#passing
  }

  /** Takes over the effects of a step; begins to write at once unless a batch is in flight. */
  add(effects: Effects): void {
    const { mutations, deadLetters } = this.#ports.codecs
    const batch = this.#next
    for (const { partition, key, mutation, trace } of effects.appends) {
      const value = mutation && mutations.encode(mutation)
      const record = withTrace({ partition, key: Buffer.from(key), value }, trace)
      if (mutation?.type === 'Watermark') batch.watermarks.set(partition, record)
      else batch.mutations.push(record)
    }
    for (const { id, priority, job } of effects.jobs)
      batch.jobs.push({ id, priority, payload: encodeJob(job), delayMs: 0 })
    for (const { itemId, offset } of effects.hints)
      batch.hints.set(supersedeHintKey(this.#options.generation, itemId), offset)
    for (const append of effects.letters) {
      const { partition, letter } = append
      batch.letters.push(append)
      const record = { partition, key: letter.key, value: deadLetters.encode(letter) }
      batch.letterRecords.push(withTrace(record, traceOf(letter)))
    }
    for (const [partition, offset] of effects.commits) this.#commits.set(partition, offset)
    this.#table.change({ entries: effects.table, positions: effects.positions })
    if (this.#failure === null && sizeOf(batch) > 0) this.#writing ??= this.#writeAll()
  }

  /** The partitions are another owner's now: no commit and no watermark of theirs is written, nor written again. */
  forget(partitions: readonly Partition[]): void {
    for (const partition of partitions) {
      for (const commits of [this.#commits, this.#commitsInFlight]) commits.delete(partition)
      for (const { watermarks } of [this.#next, this.#inFlight]) watermarks.delete(partition)
    }
  }

  /** Resolves when there is room for more effects, or when there will never be. */
  async room(): Promise<void> {
    while (sizeOf(this.#next) > this.#options.maxHeld && this.#writing !== null)
      await new Promise<void>(resolve => this.#waiters.push(resolve))
  }

  /** Resolves when everything added is durable, or will not be written any more. */
  async drained(): Promise<void> {
    while (this.#writing !== null) await this.#writing
  }

  /** Drains and checkpoints, but tries what fails only once more: what is not written is derived again at the next start. */
  async stop(): Promise<void> {
    this.#giveUp = true
    await this.drained()
    if (this.#failure || sizeOf(this.#next) > 0) return
    this.#checkpointDueMs = 0
    // What the last steps changed had no effects that could be lost.
    this.#table.effectsIssued()
    this.#table.effectsWritten()
    await this.#write()
  }

  async #writeAll(): Promise<void> {
    let attempts = 0
    while (this.#failure === null && (sizeOf(this.#next) > 0 || this.#owesCheckpoint)) {
      const error = await this.#write()
      if (error === null) {
        attempts = 0
        this.#passing = null
        this.#wake()
        continue
      }
      if (!isPassing(error)) this.#fail(error)
      else if (this.#giveUp) break
      else {
        this.#passing = error
        await this.#options.pauses.before(++attempts)
      }
    }
    this.#writing = null
    this.#wake()
  }

  /** Resolves with the first error when all writes of the batch, and of the checkpoint that goes with it, have ended. */
  async #write(): Promise<FreshetError | null> {
    const batch = this.#next
    this.#next = newBatch()
    this.#inFlight = batch
    this.#table.effectsIssued()
    const isCheckpoint = this.#isCheckpointDue()
    const issued = this.#issueEffects(batch)
    const checkpoint = isCheckpoint ? this.#checkpoint() : null
    const errors = await Promise.all(issued.map(({ write }) => errorOf(write)))
    const checkpointError = await checkpoint
    this.#inFlight = newBatch()
    const failed = issued.filter((_, index) => errors[index])
    if (failed.length === 0) this.#table.effectsWritten()
    else {
      this.#table.effectsFailed()
      this.#next = joined(Object.assign(newBatch(), ...failed.map(({ part }) => part)), this.#next)
    }
    if (batch.letters.length > 0 && !failed.some(({ part }) => part.letters))
      this.#options.onLettersWritten(batch.letters)
    return errors.find(error => error !== null) ?? checkpointError
  }

  #isCheckpointDue(): boolean {
    return this.#ports.clock() >= this.#checkpointDueMs || this.#table.durableChanges >= checkpointEntries
  }

  /** All in this tick: nothing here may await. */
  #issueEffects(batch: Batch): readonly IssuedPart[] {
    const { log, queue, features } = this.#ports
    const { generation, hintTtlMs } = this.#options
    const { mutations, watermarks, jobs, letters, letterRecords } = batch
    const issued: IssuedPart[] = []
    const appends = [...mutations, ...watermarks.values()]
    if (appends.length > 0)
      issued.push({ part: { mutations, watermarks }, write: log.append(mutationTopic(generation), appends) })
    if (letterRecords.length > 0)
      issued.push({ part: { letters, letterRecords }, write: log.append(deadLetterTopic, letterRecords) })
    if (jobs.length > 0) issued.push({ part: { jobs }, write: queue.add(jobs) })
    const hints = Array.from(batch.hints, ([key, value]) => ({ key, value }))
    if (hints.length > 0) issued.push({ part: { hints: batch.hints }, write: features.raise(hints, hintTtlMs) })
    return issued
  }

  /**
   * Issues its writes in this tick. A commit that fails for now, as every one does while the group assigns its
   * partitions anew, waits for the next checkpoint and holds nothing up.
   */
  async #checkpoint(): Promise<FreshetError | null> {
    this.#checkpointDueMs = this.#ports.clock() + checkpointIntervalMs
    const commits = this.#commits
    this.#commits = new Map()
    this.#commitsInFlight = commits
    const tableWrites = this.#table.checkpoint()
    const [commitError, tableError] = await Promise.all([
      errorOf(commits.size > 0 ? this.#options.commit(new Map(commits)) : null),
      errorOf(tableWrites.length > 0 ? this.#ports.table.write(tableWrites) : null),
    ])
    this.#commitsInFlight = new Map()
    if (commitError) this.#commits = new Map([...commits, ...this.#commits])
    this.#owesCheckpoint = tableError !== null
    if (tableError) this.#checkpointDueMs = 0
    else this.#table.checkpointStored()
    return tableError ?? (commitError && isPassing(commitError) ? null : commitError)
  }

  #fail(error: FreshetError): void {
    this.#failure = error
    this.#options.onFailure(error)
  }

  #wake(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const resolve of waiters) resolve()
  }
}

/** Most records are of no trace, and have no headers then. */
function withTrace(record: NewRecord, trace: TraceHeaders | undefined): NewRecord {
  return trace === undefined || trace === noTrace ? record : { ...record, headers: { ...trace } }
}

/** A write under way, and what is to be written again should it fail. */
interface IssuedPart {
  readonly part: Partial<Batch>
  readonly write: Promise<unknown>
}

function errorOf(write: Promise<unknown> | null): Promise<FreshetError | null> {
  return Promise.resolve(write).then(() => null, asFreshetError)
}

function sizeOf({ mutations, watermarks, jobs, hints, letters }: Batch): number {
  return mutations.length + watermarks.size + jobs.length + hints.size + letters.length
}

function newBatch(): Batch {
  return { mutations: [], watermarks: new Map(), jobs: [], hints: new Map(), letters: [], letterRecords: [] }
}

/** The later one's hints and watermarks are the higher ones. */
function joined(earlier: Batch, later: Batch): Batch {
  return {
    mutations: [...earlier.mutations, ...later.mutations],
    watermarks: new Map([...earlier.watermarks, ...later.watermarks]),
    jobs: [...earlier.jobs, ...later.jobs],
    hints: new Map([...earlier.hints, ...later.hints]),
    letters: [...earlier.letters, ...later.letters],
    letterRecords: [...earlier.letterRecords, ...later.letterRecords],
  }
}
