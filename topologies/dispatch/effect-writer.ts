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
  readonly commits: Map<Partition, Offset>
}

/**
 * Writes effects, one batch in flight; what comes meanwhile is the next batch. States: idle → writing → idle, or
 * writing → pausing (a failure that passes; the batch and what came since are one batch then) → writing.
 *
 * All writes of a batch are issued in one tick. On embedded storage they are one transaction. Elsewhere any part of a
 * batch may survive a crash without the others, and each such half is harmless, because a state only changes by what
 * is read back from the mutation log:
 * - table without jobs, appends or hints: the event is not committed, is read again, and finds an entry of its own
 *   version, so that the job is made again; attributes not read back are appended again.
 * - jobs or appends without the table: duplicates of a version that a register holds once; a finished job that the
 *   table has not heard of is adopted when read.
 * - commits without the table: an offset is committed only when its mutation was read back, which was after the batch
 *   that made its entry was durable; registers lost are read again, as their positions were lost in the same write.
 * - nulls lost: a beaten record stays in the log. That costs space, not truth.
 * - dead letters are read back by nobody: their events stay in the window until the batch is durable.
 */
export class EffectWriter {
  readonly #ports: EffectPorts
  readonly #table: ItemTable
  readonly #options: EffectWriterOptions
  #next = newBatch()
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
    for (const [partition, offset] of effects.commits) batch.commits.set(partition, offset)
    this.#table.change(effects.table, effects.positions)
    if (this.#failure === null && this.#hasWork()) this.#writing ??= this.#writeAll()
  }

  /** Resolves when there is room for more effects, or when there will never be. */
  async room(): Promise<void> {
    while (this.#held() > this.#options.maxHeld && this.#writing !== null)
      await new Promise<void>(resolve => this.#waiters.push(resolve))
  }

  /** Resolves when everything added is durable, or will not be written any more. */
  async drained(): Promise<void> {
    while (this.#writing !== null) await this.#writing
  }

  /** Drains, but tries what fails only once more: what is not written is derived again at the next start. */
  async stop(): Promise<void> {
    this.#giveUp = true
    await this.drained()
  }

  #held(): number {
    return this.#next.mutations.length + this.#next.jobs.length + this.#table.changes
  }

  async #writeAll(): Promise<void> {
    let attempts = 0
    while (this.#failure === null && this.#hasWork()) {
      const batch = this.#next
      this.#next = newBatch()
      const error = await this.#write(batch)
      if (error === null) {
        attempts = 0
        this.#passing = null
        this.#table.written()
        this.#wake()
        if (batch.letters.length > 0) this.#options.onLettersWritten(batch.letters)
        continue
      }
      this.#table.failed()
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

  #hasWork(): boolean {
    const { mutations, jobs, hints, letters, commits } = this.#next
    return mutations.length + jobs.length + hints.size + letters.length + commits.size > 0 || this.#table.changes > 0
  }

  /** Resolves when all writes have ended, with the first error. */
  async #write(batch: Batch): Promise<FreshetError | null> {
    const results = await Promise.allSettled(this.#issue(batch))
    const failed = results.find(result => result.status === 'rejected')
    return failed ? asFreshetError(failed.reason) : null
  }

  /** All in this tick: nothing here may await. */
  #issue(batch: Batch): readonly Promise<unknown>[] {
    const { log, queue, features, table } = this.#ports
    const writes: Promise<unknown>[] = []
    if (batch.mutations.length > 0) writes.push(log.append(mutationTopic(this.#options.generation), batch.mutations))
    if (batch.letters.length > 0) writes.push(log.append(deadLetterTopic, batch.letterRecords))
    if (batch.jobs.length > 0) writes.push(queue.add(batch.jobs))
    if (batch.hints.size > 0)
      writes.push(
        features.raise(
          Array.from(batch.hints, ([key, value]) => ({ key, value })),
          this.#options.hintTtlMs,
        ),
      )
    const tableWrites = this.#table.beginWrite()
    if (tableWrites.length > 0) writes.push(table.write(tableWrites))
    if (batch.commits.size > 0) writes.push(this.#options.commit(batch.commits))
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

function newBatch(): Batch {
  return { mutations: [], jobs: [], hints: new Map(), letters: [], letterRecords: [], commits: new Map() }
}

/** The later one's commits and hints are the higher ones. */
function joined(earlier: Batch, later: Batch): Batch {
  return {
    mutations: [...earlier.mutations, ...later.mutations],
    jobs: [...earlier.jobs, ...later.jobs],
    hints: new Map([...earlier.hints, ...later.hints]),
    letters: [...earlier.letters, ...later.letters],
    letterRecords: [...earlier.letterRecords, ...later.letterRecords],
    commits: new Map([...earlier.commits, ...later.commits]),
  }
}
