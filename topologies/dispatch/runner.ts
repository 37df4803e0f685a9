import { setTimeout as delay } from 'node:timers/promises'
import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Generation, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { CopyPace } from '../generations/copy-pace.ts'
import { copyObjects } from '../generations/object-copy.ts'
import {
  type DispatchInput,
  type DispatchSettings,
  type DispatchState,
  type Effects,
  newDispatchState,
  newEffects,
  type PartitionState,
  type RedriveOutcome,
} from './dispatch-state.ts'
import { traceRecords } from './dispatch-trace.ts'
import { type EffectPorts, EffectWriter } from './effect-writer.ts'
import { Intake, type IntakeOptions } from './intake.ts'
import { ItemTable } from './item-table.ts'
import type { DispatchPace } from './pace.ts'
import { isPassing, Pauses } from './passing-failure.ts'
import { step } from './step.ts'
import { TablePruning } from './table-pruning.ts'
import { oldestPendingOf } from './timed-step.ts'

export interface DispatchPorts extends EffectPorts {
  readonly codecs: EffectPorts['codecs'] & { readonly catalog: RecordCodec<CatalogEvent> }
}

export interface DispatchRunnerOptions {
  readonly settings: DispatchSettings
  /**
   * `all`: the one dispatcher of its generation. `group` (of the distributed form): one of any number; the consumer
   * group of the generation says which partitions are this one's now.
   */
  readonly partitions?: 'all' | 'group'
  /** Called once, when the runner cannot go on; it has stopped by itself then. Codes: `topic-epoch`, `topic-mismatch`, final storage errors, `internal`. */
  readonly onFailure: (error: FreshetError) => void
  /** Records taken from a reader at once. */
  readonly batchRecords?: number
  /** How long a superseding hint is kept without being raised. */
  readonly hintTtlMs?: number
  readonly tickMs?: number
  /** How long a partition that another process has is kept in the table of this one. */
  readonly keepForeignMs?: number
}

export interface DispatchPartitionStatus {
  readonly partition: Partition
  /** The mutation log is copied into, or read to where it ended at the assignment; no event of the partition is read before that is done. */
  readonly catchingUp: boolean
  /** Catalog offset up to which everything is applied, inclusive; -1 before the first. */
  readonly watermark: Offset
  readonly position: Offset
  readonly endOffset: Offset
  /** Records of the catalog not read yet. */
  readonly lagRecords: number
  readonly pendingImages: number
  readonly oldestPendingTimeMs: number | null
}

export interface DispatchStatus {
  readonly generation: Generation
  readonly state: 'stopped' | 'running' | 'draining' | 'failed'
  /** Why writing or reading pauses now (such as `storage-full`), or why it failed; null otherwise. */
  readonly error: FreshetError | null
  /** Reading the catalog is paused: by backpressure, or by the pace. */
  readonly paused: boolean
  readonly pace: DispatchPace
  /** Of the assignment that is followed: grows with each; 0 before the first. */
  readonly assignmentEpoch: number
  /** Those assigned to this process, no others: of each partition only the owner tells the watermark. */
  readonly partitions: readonly DispatchPartitionStatus[]
  /** Since the start of this process. */
  readonly counts: {
    readonly events: number
    readonly jobs: number
    readonly deadLetters: number
    readonly refused: number
    /** Items whose objects were copied from another generation. */
    readonly copied: number
  }
}

const hourMs = 3_600_000
const defaultOptions = {
  partitions: 'all',
  batchRecords: 256,
  hintTtlMs: 24 * hourMs,
  tickMs: 100,
  keepForeignMs: hourMs,
} as const
const sweepItems = 256
/** What is in flight when the runner is stopped gets this long before its commits are given up. */
const writeWithinMs = 3_000

/**
 * One generation's dispatch instance, or one of the processes that share it: reads the catalog and the generation's
 * mutation log (`Intake`), passes what it reads through the step, writes what the step wants (`EffectWriter`).
 * States: stopped → running → draining → stopped; running → failed.
 */
export class DispatchRunner {
  readonly #ports: DispatchPorts
  readonly #options: Required<DispatchRunnerOptions>
  readonly #table: ItemTable
  readonly #state: DispatchState
  readonly #stopping = new AbortController()
  readonly #writer: EffectWriter
  readonly #intake: Intake
  readonly #pruning: TablePruning | null
  #timer: NodeJS.Timeout | null = null
  #lastSlowTickMs = 0
  #slowTick: Promise<void> | null = null
  #sweptTo: ItemId | null = null
  #phase: DispatchStatus['state'] = 'stopped'
  #failure: FreshetError | null = null

  constructor(ports: DispatchPorts, options: DispatchRunnerOptions) {
    this.#ports = ports
    this.#options = { ...defaultOptions, ...options }
    const { generation } = options.settings
    this.#table = new ItemTable(ports.table, options.settings)
    this.#state = newDispatchState(options.settings, itemId => this.#table.lookup(itemId))
    this.#pruning = this.#options.partitions === 'all' ? null : this.#newPruning()
    const pauses = new Pauses(this.#stopping.signal)
    this.#writer = new EffectWriter(ports, this.#table, {
      generation,
      hintTtlMs: this.#options.hintTtlMs,
      maxHeld: 4 * this.#options.batchRecords,
      commit: offsets => this.#intake.commit(offsets),
      onLettersWritten: letters => this.#feed({ type: 'lettersWritten', letters, nowMs: this.#ports.clock() }),
      onFailure: error => this.#fail(error),
      pauses,
    })
    this.#intake = new Intake(ports, {
      partitions: this.#options.partitions,
      batchRecords: this.#options.batchRecords,
      state: this.#state,
      table: this.#table,
      pruning: this.#pruning,
      copy: this.#newCopy(),
      signal: this.#stopping.signal,
      pauses,
      room: () => this.#writer.room(),
      feed: input => this.#feed(input),
      forget: partitions => this.#writer.forget(partitions),
      onFailure: error => this.#fail(error),
    })
  }

  /** Once per runner. @throws FreshetError `topic-epoch` | `topic-mismatch` | `topic-missing` | `offset-out-of-range` | storage codes */
  async start(): Promise<void> {
    try {
      await this.#intake.open()
    } catch (thrown) {
      await this.stop()
      throw thrown
    }
    if (this.#failure) return
    this.#phase = 'running'
    this.#timer = setInterval(() => this.#tick(), this.#options.tickMs)
  }

  /** Drains: reads no more, finishes the writes in flight with their commits, returns. Harmless when not running. */
  async stop(): Promise<void> {
    if (this.#phase === 'running') this.#phase = 'draining'
    this.#stopping.abort()
    if (this.#timer) clearInterval(this.#timer)
    const written = this.#writer.stop()
    // A commit may wait for a group that is being joined; closing the reader ends that.
    await Promise.race([written, delay(writeWithinMs, undefined, { ref: false })])
    await this.#intake.close()
    await written
    await this.#slowTick
    if (this.#phase === 'draining') this.#phase = 'stopped'
  }

  /**
   * Runs the job of a dead letter again at its original version. Resolves when that is durable.
   * @throws FreshetError `bad-request` when the letter holds no job; `not-ready` when the runner does not run, or not
   * on all of the partition's past
   */
  async redrive(letter: DeadLetter): Promise<RedriveOutcome> {
    if (letter.job === null)
      throw new FreshetError('bad-request', `the letter (${letter.code}) holds no image work: publish the item again`)
    if (this.#phase !== 'running') throw new FreshetError('not-ready', 'the dispatcher is not running')
    if (this.#intake.isCatchingUp(letter.job.partition))
      throw new FreshetError('not-ready', 'the dispatcher catches up on the partition of the letter')
    const { redriven } = this.#feed({ type: 'redrive', job: letter.job, nowMs: this.#ports.clock() })
    await this.#writer.drained()
    if (this.#failure) throw this.#failure
    return redriven ?? 'foreign'
  }

  /** Changes how fast it goes on, from now; also before `start`. */
  setPace(pace: DispatchPace): void {
    this.#feed({ type: 'pace', pace, nowMs: this.#ports.clock() })
  }

  status(): DispatchStatus {
    const { paused, counts, settings, partitions } = this.#state
    return {
      generation: settings.generation,
      state: this.#phase,
      error: this.#failure ?? this.#writer.passingFailure ?? this.#intake.passingFailure,
      paused,
      pace: this.#state.pacing.pace,
      assignmentEpoch: this.#intake.epoch,
      partitions: [
        ...Array.from(partitions.values(), partition => this.#statusOf(partition)),
        ...[...this.#intake.copying].filter(([one]) => !partitions.has(one)).map(copyingStatus),
      ],
      counts: { ...counts },
    }
  }

  #statusOf(partition: PartitionState): DispatchPartitionStatus {
    return {
      partition: partition.partition,
      catchingUp: this.#intake.isCatchingUp(partition.partition),
      watermark: partition.window.watermark,
      position: partition.window.position,
      endOffset: partition.end,
      lagRecords: Math.max(0, partition.end - partition.window.position),
      pendingImages: partition.window.imageRecords,
      oldestPendingTimeMs: oldestPendingOf(partition),
    }
  }

  /** Of what stands in the log of the generation that this one's objects are taken from. */
  #newCopy(): IntakeOptions['copy'] {
    const { generation: to, acceptance, copiedFrom: from } = this.#options.settings
    if (from === null) return null
    const ports = { log: this.#ports.log, mutations: this.#ports.codecs.mutations }
    const pace = new CopyPace(this.#ports.clock())
    const mayWrite = (records: number) => pace.take(records, this.#state.pacing.pace, this.#ports.clock())
    const onCopied = (items: number) => {
      this.#state.counts.copied += items
    }
    return (partition, isOver) => copyObjects(ports, partition, { from, to, acceptance, isOver, mayWrite, onCopied })
  }

  #newPruning(): TablePruning {
    const { keepForeignMs, settings } = this.#options
    const { partitionCount } = settings
    return new TablePruning({ table: this.#table, partitionCount, keepMs: keepForeignMs, nowMs: this.#ports.clock() })
  }

  #feed(input: DispatchInput): Effects {
    // While draining only what a written letter leads to is still done.
    if (this.#stopping.signal.aborted && input.type !== 'lettersWritten') return newEffects()
    const effects = this.#step(input)
    if (effects.stop) this.#fail(new FreshetError(effects.stop.code, effects.stop.message))
    if (this.#failure) return effects
    if (effects.flow || effects.tailFlow) this.#intake.control()
    this.#writer.add(effects)
    return effects
  }

  /** Events of traced publishers as spans of their own. */
  #step(input: DispatchInput): Effects {
    if (input.type !== 'catalog') return step(this.#state, input)
    const { generation } = this.#state.settings
    const { records, end } = traceRecords(input.records, { generation, system: this.#ports.log.system ?? 'kafka' })
    const effects = step(this.#state, { ...input, records })
    end()
    return effects
  }

  #tick(): void {
    // What a tick wants would only pile up.
    if (this.#writer.passingFailure) return
    try {
      const nowMs = this.#ports.clock()
      this.#feed({ type: 'tick', nowMs })
      if (nowMs - this.#lastSlowTickMs < 1_000 || this.#slowTick) return
      this.#lastSlowTickMs = nowMs
      this.#slowTick = this.#readEndsAndSweep().finally(() => {
        this.#slowTick = null
      })
    } catch (thrown) {
      this.#fail(asFreshetError(thrown))
    }
  }

  async #readEndsAndSweep(): Promise<void> {
    try {
      const offsets = await this.#ports.log.offsets(catalogTopic)
      if (this.#stopping.signal.aborted) return
      const ends = new Map(Array.from(offsets, ([partition, { end }]) => [partition, end] as const))
      this.#feed({ type: 'ends', ends, nowMs: this.#ports.clock() })
      const itemIds = this.#table.storedItems(this.#sweptTo, sweepItems)
      this.#sweptTo = itemIds.length < sweepItems ? null : itemIds.at(-1)!
      this.#feed({ type: 'sweep', itemIds, nowMs: this.#ports.clock() })
      await this.#pruning?.prune(this.#ports.clock())
    } catch (thrown) {
      const error = asFreshetError(thrown)
      // What passes is tried again with the next tick.
      if (!isPassing(error) && !this.#stopping.signal.aborted) this.#fail(error)
    }
  }

  #fail(error: FreshetError): void {
    if (this.#failure) return
    this.#failure = error
    this.#phase = 'failed'
    this.#stopping.abort()
    if (this.#timer) clearInterval(this.#timer)
    // Others of the group get its partitions now, not when this process ends.
    void this.#intake.close()
    this.#options.onFailure(error)
  }
}

/** Of a partition that is copied into: nothing of its catalog is read yet. */
function copyingStatus([partition, endOffset]: readonly [Partition, Offset]): DispatchPartitionStatus {
  return {
    partition,
    catchingUp: true,
    watermark: asOffset(-1),
    position: asOffset(0),
    endOffset,
    lagRecords: endOffset,
    pendingImages: 0,
    oldestPendingTimeMs: null,
  }
}
