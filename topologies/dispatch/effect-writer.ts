import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { encodeJob, supersedeHintKey } from '../../schemas/embed-job.ts'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { Generation, Offset, Partition } from '../../schemas/ids.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { deadLetterTopic, mutationTopic } from '../../schemas/topics.ts'
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
 * writing → pausing (a failure that passes; the batch and what came since are one batch then) → writing.
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
 * - dead letters are read back by nobody: their events stay in the window until the batch is durable.
 */
export class EffectWriter {
  readonly #ports: EffectPorts
  readonly #table: ItemTable
  readonly #options: EffectWriterOptions
  #next = newBatch()
  #commits = new Map<Partition, Offset>()
  #checkpointDueMs = 0
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
    for (const { partition, key, mutation } of effects.appends)
      batch.mutations.push({ partition, key: Buffer.from(key), value: mutation && mutations.encode(mutation) })
    for (const { id, priority, job } of effects.jobs)
      batch.jobs.push({ id, priority, payload: encodeJob(job), delayMs: 0 })
    for (const { itemId, offset } of effects.hints)
      batch.hints.set(supersedeHintKey(this.#options.generation, itemId), offset)
    for (const append of effects.letters) {
      const { partition, letter } = append
      batch.letters.push(append)
      batch.letterRecords.push({ partition, key: letter.key, value: deadLetters.encode(letter) })
    }
    for (const [partition, offset] of effects.commits) this.#commits.set(partition, offset)
    this.#table.change({ entries: effects.table, positions: effects.positions })
    if (this.#failure === null && sizeOf(batch) > 0) this.#writing ??= this.#writeAll()
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
    await this.#write(this.#next)
  }

  async #writeAll(): Promise<void> {
    let attempts = 0
    while (this.#failure === null && sizeOf(this.#next) > 0) {
      const batch = this.#next
      this.#next = newBatch()
      const error = await this.#write(batch)
      if (error === null) {
        attempts = 0
        this.#passing = null
        this.#wake()
        if (batch.letters.length > 0) this.#options.onLettersWritten(batch.letters)
        continue
      }
      this.#next = joined(batch, this.#next)
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

  /** Resolves when all writes of the batch, and of the checkpoint that goes with it, have ended; with the first error. */
  async #write(batch: Batch): Promise<FreshetError | null> {
    this.#table.effectsIssued()
    const commits = this.#commits
    const writes = this.#issueEffects(batch)
    const isCheckpoint = this.#isCheckpointDue()
    if (isCheckpoint) {
      this.#commits = new Map()
      this.#checkpointDueMs = this.#ports.clock() + checkpointIntervalMs
      if (commits.size > 0) writes.push(this.#options.commit(commits))
      const tableWrites = this.#table.checkpoint()
      if (tableWrites.length > 0) writes.push(this.#ports.table.write(tableWrites))
    }
    const failed = (await Promise.allSettled(writes)).find(result => result.status === 'rejected')
    if (failed) {
      this.#table.effectsFailed()
      if (isCheckpoint) this.#commits = new Map([...commits, ...this.#commits])
      return asFreshetError(failed.reason)
    }
    if (isCheckpoint) this.#table.checkpointStored()
    this.#table.effectsWritten()
    return null
  }

  #isCheckpointDue(): boolean {
    return this.#ports.clock() >= this.#checkpointDueMs || this.#table.durableChanges >= checkpointEntries
  }

  /** All in this tick: nothing here may await. */
  #issueEffects(batch: Batch): Promise<unknown>[] {
    const { log, queue, features } = this.#ports
    const { generation, hintTtlMs } = this.#options
    const writes: Promise<unknown>[] = []
    if (batch.mutations.length > 0) writes.push(log.append(mutationTopic(generation), batch.mutations))
    if (batch.letterRecords.length > 0) writes.push(log.append(deadLetterTopic, batch.letterRecords))
    if (batch.jobs.length > 0) writes.push(queue.add(batch.jobs))
    const hints = Array.from(batch.hints, ([key, value]) => ({ key, value }))
    if (hints.length > 0) writes.push(features.raise(hints, hintTtlMs))
    return writes
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

function sizeOf({ mutations, jobs, hints, letters }: Batch): number {
  return mutations.length + jobs.length + hints.size + letters.length
}

function newBatch(): Batch {
  return { mutations: [], jobs: [], hints: new Map(), letters: [], letterRecords: [] }
}

/** The later one's hints are the higher ones. */
function joined(earlier: Batch, later: Batch): Batch {
  return {
    mutations: [...earlier.mutations, ...later.mutations],
    jobs: [...earlier.jobs, ...later.jobs],
    hints: new Map([...earlier.hints, ...later.hints]),
    letters: [...earlier.letters, ...later.letters],
    letterRecords: [...earlier.letterRecords, ...later.letterRecords],
  }
}
