import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Generation, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import type { LogReader, LogRecord } from '../event-log.ts'
import { checkMarkers } from './check-markers.ts'
import {
  type AssignedPartition,
  type DispatchInput,
  type DispatchSettings,
  type DispatchState,
  type Effects,
  newDispatchState,
  newEffects,
  type RedriveOutcome,
} from './dispatch-state.ts'
import { type EffectPorts, EffectWriter } from './effect-writer.ts'
import { ItemTable } from './item-table.ts'
import { isPassing, Pauses } from './passing-failure.ts'
import { decodeCatalog, decodeMutations } from './record-decoder.ts'
import { step } from './step.ts'
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
}

export interface DispatchPartitionStatus {
  readonly partition: Partition
  /** The mutation log is read to where it ended at the assignment; no event of the partition is read before that is done. */
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
  /** Why writing pauses now (such as `storage-full`), or why it failed; null otherwise. */
  readonly error: FreshetError | null
  /** Reading the catalog is paused by backpressure. */
  readonly paused: boolean
  /** Grows with each reassignment followed; 0 before the first. */
  readonly assignmentEpoch: number
  /** Those assigned to this process, no others: of each partition only the owner tells the watermark. */
  readonly partitions: readonly DispatchPartitionStatus[]
  /** Since the start of this process. */
  readonly counts: {
    readonly events: number
    readonly jobs: number
    readonly deadLetters: number
    readonly refused: number
  }
}

const pollWaitMs = 1_000
const sweepItems = 256

/**
 * One generation's dispatch instance: reads the catalog and the generation's mutation log, passes what it reads
 * through the step, writes what the step wants. States: stopped → running → draining → stopped; running → failed.
 */
export class DispatchRunner {
  readonly #ports: DispatchPorts
  readonly #options: Required<DispatchRunnerOptions>
  readonly #table: ItemTable
  readonly #state: DispatchState
  readonly #stopping = new AbortController()
  readonly #pauses: Pauses
  readonly #writer: EffectWriter
  #catalogReader: LogReader | null = null
  #mutationReader: LogReader | null = null
  #loops: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | null = null
  #lastSlowTickMs = 0
  #slowTick: Promise<void> | null = null
  #sweptTo: ItemId | null = null
  #resumed = Promise.withResolvers<void>()
  #phase: DispatchStatus['state'] = 'stopped'
  #failure: FreshetError | null = null

  constructor(ports: DispatchPorts, options: DispatchRunnerOptions) {
    this.#ports = ports
    this.#options = { partitions: 'all', batchRecords: 256, hintTtlMs: 24 * 3_600_000, tickMs: 100, ...options }
    const { generation } = options.settings
    this.#table = new ItemTable(ports.table, generation)
    this.#state = newDispatchState(options.settings, itemId => this.#table.lookup(itemId))
    this.#pauses = new Pauses(this.#stopping.signal)
    this.#writer = new EffectWriter(ports, this.#table, {
      generation,
      hintTtlMs: this.#options.hintTtlMs,
      maxHeld: 4 * this.#options.batchRecords,
      commit: offsets => this.#commit(offsets),
      onLettersWritten: letters => this.#feed({ type: 'lettersWritten', letters, nowMs: this.#ports.clock() }),
      onFailure: error => this.#fail(error),
      pauses: this.#pauses,
    })
  }

  /** Once per runner. @throws FreshetError `topic-epoch` | `topic-mismatch` | `topic-missing` | `offset-out-of-range` | storage codes */
  async start(): Promise<void> {
    const { log } = this.#ports
    const assigned = await this.#assignment()
    const partitions = assigned.map(one => one.partition)
    const { generation } = this.#options.settings
    const catalogReader = await log.openReader({
      topic: catalogTopic,
      partitions,
      group: dispatchGroup(generation),
      from: new Map(assigned.map(one => [one.partition, one.catalogFrom])),
    })
    this.#catalogReader = catalogReader
    const mutationReader = await log.openReader({
      topic: mutationTopic(generation),
      partitions,
      group: `dispatch-mutations-${generation}`,
      from: new Map(assigned.map(one => [one.partition, one.mutationsFrom])),
    })
    this.#mutationReader = mutationReader
    this.#phase = 'running'
    this.#feed({ type: 'assignment', partitions: assigned, nowMs: this.#ports.clock() })
    const ends = await log.offsets(mutationTopic(generation))
    this.#loops = this.#read(catalogReader, mutationReader, ends)
    this.#timer = setInterval(() => this.#tick(), this.#options.tickMs)
  }

  /** Drains: reads no more, finishes the writes in flight with their commits, returns. Harmless when not running. */
  async stop(): Promise<void> {
    if (this.#phase === 'running') this.#phase = 'draining'
    this.#stopping.abort()
    this.#resumed.resolve()
    if (this.#timer) clearInterval(this.#timer)
    await this.#writer.stop()
    await Promise.all([this.#catalogReader?.close(), this.#mutationReader?.close()])
    await this.#loops
    await this.#slowTick
    if (this.#phase === 'draining') this.#phase = 'stopped'
  }

  /**
   * Runs the job of a dead letter again at its original version. Resolves when that is durable.
   * @throws FreshetError `bad-request` when the letter holds no job; `not-ready` when the runner does not run
   */
  async redrive(letter: DeadLetter): Promise<RedriveOutcome> {
    if (letter.job === null)
      throw new FreshetError('bad-request', `the letter (${letter.code}) holds no image work: publish the item again`)
    if (this.#phase !== 'running') throw new FreshetError('not-ready', 'the dispatcher is not running')
    const { redriven } = this.#feed({ type: 'redrive', job: letter.job, nowMs: this.#ports.clock() })
    await this.#writer.drained()
    if (this.#failure) throw this.#failure
    return redriven ?? 'foreign'
  }

  status(): DispatchStatus {
    const { paused, counts, settings, partitions } = this.#state
    return {
      generation: settings.generation,
      state: this.#phase,
      error: this.#failure ?? this.#writer.passingFailure,
      paused,
      assignmentEpoch: this.#state.partitions.size > 0 ? 1 : 0,
      partitions: Array.from(partitions.values(), partition => ({
        partition: partition.partition,
        catchingUp: false,
        watermark: partition.window.watermark,
        position: partition.window.position,
        endOffset: partition.end,
        lagRecords: Math.max(0, partition.end - partition.window.position),
        pendingImages: partition.window.imageRecords,
        oldestPendingTimeMs: oldestPendingOf(partition),
      })),
      counts: { ...counts },
    }
  }

  async #assignment(): Promise<readonly AssignedPartition[]> {
    const { log, codecs } = this.#ports
    const { settings } = this.#options
    const topic = mutationTopic(settings.generation)
    await this.#checkPartitionCounts([catalogTopic, topic])
    const committed = await log.committed(dispatchGroup(settings.generation), catalogTopic)
    const offsets = await log.offsets(catalogTopic)
    await checkMarkers(log, {
      codec: codecs.catalog,
      offsets,
      committed,
      topicEpoch: settings.acceptance.topicEpoch,
      pauses: this.#pauses,
    })
    return Array.from({ length: settings.partitionCount }, (_, number) => {
      const partition = asPartition(number)
      const { start, end } = offsets.get(partition) ?? { start: asOffset(0), end: asOffset(0) }
      const catalogFrom = committed.get(partition) ?? start
      return {
        partition,
        catalogFrom,
        mutationsFrom: this.#table.storedPosition(partition),
        catalogEnd: end,
        expectMarker: catalogFrom <= start,
      }
    })
  }

  async #checkPartitionCounts(topics: readonly string[]): Promise<void> {
    const { partitionCount } = this.#options.settings
    for (const topic of topics) {
      const count = await this.#ports.log.partitionCount(topic)
      if (count !== partitionCount)
        throw new FreshetError(
          'topic-mismatch',
          `${topic} has ${count} partitions, the generation was started on ${partitionCount}`,
        )
    }
  }

  /** The mutation log to its end first: see the `assignment` input. Then both. */
  async #read(
    catalogReader: LogReader,
    mutationReader: LogReader,
    ends: ReadonlyMap<Partition, { readonly end: Offset }>,
  ): Promise<void> {
    const { codecs, clock } = this.#ports
    const takeMutations = async (records: readonly LogRecord[]) => {
      const decoded = await decodeMutations(records, codecs.mutations, this.#pauses)
      this.#feed({ type: 'mutations', records: decoded, nowMs: clock() })
    }
    const takeEvents = async (records: readonly LogRecord[]) => {
      const decoded = await decodeCatalog(records, codecs.catalog, this.#pauses)
      this.#feed({ type: 'catalog', records: decoded, nowMs: clock() })
      if (this.#state.paused) await this.#resumed.promise
    }
    const isCaughtUp = () => [...ends].every(([partition, { end }]) => mutationReader.position(partition) >= end)
    await this.#follow(mutationReader, takeMutations, isCaughtUp)
    await Promise.all([this.#follow(catalogReader, takeEvents), this.#follow(mutationReader, takeMutations)])
  }

  /** Reads a batch while the writes of the last are in flight, as long as the writer has room. */
  async #follow(
    reader: LogReader,
    take: (records: readonly LogRecord[]) => Promise<void>,
    isDone: () => boolean = () => false,
  ): Promise<void> {
    let attempts = 0
    while (!this.#stopping.signal.aborted && !isDone())
      try {
        await this.#writer.room()
        const records = await reader.poll(this.#options.batchRecords, pollWaitMs)
        if (this.#stopping.signal.aborted) return
        if (records.length > 0) await take(records)
        attempts = 0
      } catch (thrown) {
        const error = asFreshetError(thrown)
        if (this.#stopping.signal.aborted) return
        if (!isPassing(error)) {
          this.#fail(error)
          return
        }
        await this.#pauses.before(++attempts)
      }
  }

  #feed(input: DispatchInput): Effects {
    // While draining only what a written letter leads to is still done.
    if (this.#stopping.signal.aborted && input.type !== 'lettersWritten') return newEffects()
    const effects = step(this.#state, input)
    if (effects.stop) this.#fail(new FreshetError(effects.stop.code, effects.stop.message))
    if (this.#failure) return effects
    if (effects.flow) this.#control(effects.flow)
    this.#writer.add(effects)
    return effects
  }

  #control(flow: 'pause' | 'resume'): void {
    const partitions = [...this.#state.partitions.keys()]
    if (flow === 'pause') {
      this.#resumed = Promise.withResolvers()
      this.#catalogReader?.pause(partitions)
      return
    }
    this.#catalogReader?.resume(partitions)
    this.#resumed.resolve()
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
    } catch (thrown) {
      const error = asFreshetError(thrown)
      // What passes is tried again with the next tick.
      if (!isPassing(error) && !this.#stopping.signal.aborted) this.#fail(error)
    }
  }

  async #commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void> {
    await this.#catalogReader?.commit(offsets)
  }

  #fail(error: FreshetError): void {
    if (this.#failure) return
    this.#failure = error
    this.#phase = 'failed'
    this.#stopping.abort()
    this.#resumed.resolve()
    if (this.#timer) clearInterval(this.#timer)
    this.#options.onFailure(error)
  }
}

/** Consumer group of a generation's dispatch instance on the catalog topic. */
export function dispatchGroup(generation: Generation): string {
  return `dispatch-${generation}`
}
