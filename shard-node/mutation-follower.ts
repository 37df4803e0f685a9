import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { ItemId } from '../schemas/ids.ts'
import type { Mutation, Register } from '../schemas/mutation.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import type { LogReader, LogRecord } from '../topologies/event-log.ts'
import { type ApplyTrace, describeMutation, refuseSpan } from './apply-trace.ts'
import type { RefusedRecord } from './refused-records.ts'
import type { ShardMeter } from './shard-meter.ts'
import type { ShardState } from './shard-state.ts'

const recordsPerPoll = 2_048
const pollWaitMs = 1_000
/** Records are applied for so long before the event loop gets its turn; looked at every few records. */
const sliceMs = 2
const recordsPerLook = 8
/** Time between attempts while the disk is full, or the log or the registry are away. */
const retryMs = 500

export interface FollowerOptions {
  readonly reader: LogReader
  readonly codec: RecordCodec<Mutation>
  readonly state: ShardState
  readonly meter: ShardMeter
  readonly trace: ApplyTrace
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Called after each slice, when everything read so far is in `state`. */
  readonly onSlice: () => void
  /** The disk takes no more, or a server is away: told once, while it is tried again and again. */
  readonly onTrouble: (error: FreshetError) => void
}

/** Reads the mutation log and applies it to the state, slice by slice, until closed. */
export class MutationFollower {
  readonly #options: FollowerOptions
  readonly #closing = new AbortController()
  #running: Promise<void> | null = null
  /** Told, and not over yet. */
  #trouble: FreshetError | null = null

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  /**
   * Resolves when closed. @throws FreshetError of the log, unless it is only away; `record-undecodable` for a record without a register key;
   * `mutation-invalid` when too many records are refused
   */
  run(): Promise<void> {
    this.#running = this.#follow()
    return this.#running
  }

  /** Stops after the slice at work. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#options.reader.close()
    await this.#running?.catch(() => undefined)
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted
  }

  async #follow(): Promise<void> {
    const { onSlice } = this.#options
    while (!this.#isClosing) {
      await this.#applyAll(await this.#poll())
      if (this.#isClosing) return
      this.#passGaps()
      onSlice()
    }
  }

  /** Nothing while the log is away: the reader goes on where it was. */
  async #poll(): Promise<readonly LogRecord[]> {
    try {
      const records = await this.#options.reader.poll(recordsPerPoll, pollWaitMs)
      if (this.#trouble?.code === 'log-unavailable') this.#trouble = null
      return records
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.code !== 'log-unavailable') throw error
      await this.#waitOut(error)
      return []
    }
  }

  async #applyAll(records: readonly LogRecord[]): Promise<void> {
    const { state, onSlice, meter, trace, clock } = this.#options
    for (let at = 0; at < records.length && !this.#isClosing; ) {
      const beganAtMs = performance.now()
      const slice = this.#applySlice(records, at)
      const last = slice.next > at ? records[slice.next - 1] : undefined
      at = slice.next
      onSlice()
      trace.end()
      if (last !== undefined) meter.applied(performance.now() - beganAtMs, clock() - last.appendTimeMs)
      if (slice.obstacle === null) this.#trouble = null
      else if (isStorage(slice.obstacle)) await this.#waitOut(slice.obstacle)
      else if (!(await this.#learn(records[at]!))) at++
      await state.items.settled().catch(thrown => this.#waitForStorage(asFreshetError(thrown)))
      if (at < records.length) await nextTurn()
    }
  }

  /** Records that log compaction took away count as applied: the reader has passed them. */
  #passGaps(): void {
    const { reader, state } = this.#options
    for (const partition of reader.assignment().partitions) state.pass(partition, reader.position(partition))
  }

  /** Applies records from `at` on until the time is over, or up to one that cannot be applied just now. */
  #applySlice(
    records: readonly LogRecord[],
    at: number,
  ): { readonly next: number; readonly obstacle: FreshetError | null } {
    const endsAt = performance.now() + sliceMs
    for (let next = at; next < records.length; next++) {
      if (next > at && (next - at) % recordsPerLook === 0 && performance.now() > endsAt) return { next, obstacle: null }
      const obstacle = this.#apply(records[next]!)
      if (obstacle !== null) return { next, obstacle }
    }
    return { next: records.length, obstacle: null }
  }

  /** Null when done with the record; else why it has to be tried again: its schema is to be learnt, or storage. */
  #apply(record: LogRecord): FreshetError | null {
    const { codec, state, trace } = this.#options
    if (record.value === null) {
      state.skip(record)
      return null
    }
    let mutation: Mutation
    const span = trace.begin(record)
    try {
      mutation = codec.decode(record.value)
      describeMutation(span, mutation)
    } catch (thrown) {
      const error = asFreshetError(thrown)
      refuseSpan(span, error)
      if (error.code === 'schema-unknown') return error
      this.#refuse(record, error)
      return null
    }
    try {
      state.apply(record, mutation)
      return null
    } catch (thrown) {
      const error = asFreshetError(thrown)
      refuseSpan(span, error)
      if (isStorage(error)) return error
      throw error
    }
  }

  /** Whether the record may be tried again now; it is refused otherwise. */
  async #learn(record: LogRecord): Promise<boolean> {
    const { codec } = this.#options
    try {
      await codec.learn(record.value!)
      codec.decode(record.value!)
      return true
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.code === 'registry-unavailable') {
        await this.#waitOut(error)
        return true
      }
      if (error.retryable) throw error
      this.#refuse(record, error)
      return false
    }
  }

  /** @throws the error when it is not of storage */
  async #waitForStorage(error: FreshetError): Promise<void> {
    if (!isStorage(error)) throw error
    await this.#waitOut(error)
  }

  async #waitOut(error: FreshetError): Promise<void> {
    if (this.#trouble === null) this.#options.onTrouble(error)
    this.#trouble = error
    await pause(retryMs, undefined, { signal: this.#closing.signal }).catch(() => undefined)
  }

  /** The dispatcher cannot read the record either; its key tells what it would have written. */
  #refuse(record: LogRecord, { code, message }: FreshetError): void {
    const { state } = this.#options
    const coordinates = coordinatesOf(record)
    state.skip(record)
    state.refuse({ ...coordinates, code, message })
  }
}

function isStorage({ code }: FreshetError): boolean {
  return code === 'storage-full' || code === 'storage-failed'
}

/** @throws FreshetError `record-undecodable` when the key is not that of a register write */
function coordinatesOf(record: LogRecord): Omit<RefusedRecord, 'code' | 'message'> {
  const key = record.key === null ? '' : Buffer.from(record.key).toString('utf8')
  const match = /^([oaxf]):(.+)@(\d+)$/s.exec(key)
  if (match === null)
    throw new FreshetError(
      'record-undecodable',
      `record ${record.offset} of partition ${record.partition} is unreadable and has no register key`,
    )
  const [, register, itemId, offset] = match as unknown as [string, Register, ItemId, string]
  return { partition: record.partition, itemId, register, offset: Number(offset) }
}
