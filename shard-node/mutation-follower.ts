import { setImmediate as nextTurn } from 'node:timers/promises'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { ItemId } from '../schemas/ids.ts'
import type { Mutation, Register } from '../schemas/mutation.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import type { LogReader, LogRecord } from '../topologies/event-log.ts'
import type { RefusedRecord } from './refused-records.ts'
import type { ShardState } from './shard-state.ts'

const recordsPerPoll = 1_024
const pollWaitMs = 1_000
/** Records applied before the event loop gets its turn: about 1 to 3 ms. */
const recordsPerSlice = 128

export interface FollowerOptions {
  readonly reader: LogReader
  readonly codec: RecordCodec<Mutation>
  readonly state: ShardState
  /** Called after each slice, when everything read is in `state`; reading on waits for the promise, if any. */
  readonly onSlice: () => Promise<unknown> | null
}

/** Reads the mutation log and applies it to the state, slice by slice, until closed. */
export class MutationFollower {
  readonly #options: FollowerOptions
  #closing = false
  #running: Promise<void> | null = null

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  /**
   * Resolves when closed. @throws FreshetError of the log; `record-undecodable` for a record without a register key;
   * `mutation-invalid` when too many records are refused
   */
  run(): Promise<void> {
    this.#running = this.#follow()
    return this.#running
  }

  /** Stops after the slice at work. */
  async close(): Promise<void> {
    this.#closing = true
    await this.#options.reader.close()
    await this.#running?.catch(() => undefined)
  }

  async #follow(): Promise<void> {
    const { reader, onSlice } = this.#options
    while (!this.#closing) {
      const records = await reader.poll(recordsPerPoll, pollWaitMs)
      for (let at = 0; at < records.length; at += recordsPerSlice) {
        if (at > 0) await nextTurn()
        if (this.#closing) return
        await this.#applySlice(records.slice(at, at + recordsPerSlice))
      }
      this.#passGaps()
      await onSlice()
    }
  }

  /** Records that log compaction took away count as applied: the reader has passed them. */
  #passGaps(): void {
    const { reader, state } = this.#options
    for (const partition of reader.assignment().partitions) state.pass(partition, reader.position(partition))
  }

  async #applySlice(records: readonly LogRecord[]): Promise<void> {
    for (const record of records) {
      if (record.value === null) this.#options.state.skip(record)
      else if (!this.#apply(record, record.value)) await this.#learnAndApply(record, record.value)
    }
    await this.#options.onSlice()
  }

  /** False when the schema has to be learnt first. */
  #apply(record: LogRecord, value: Uint8Array): boolean {
    const { codec, state } = this.#options
    let mutation: Mutation
    try {
      mutation = codec.decode(value)
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.code === 'schema-unknown') return false
      this.#refuse(record, error)
      return true
    }
    state.apply(record, mutation)
    return true
  }

  async #learnAndApply(record: LogRecord, value: Uint8Array): Promise<void> {
    try {
      await this.#options.codec.learn(value)
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.retryable) throw error
      this.#refuse(record, error)
      return
    }
    if (!this.#apply(record, value))
      this.#refuse(record, new FreshetError('schema-unknown', 'the schema is unknown after learning it'))
  }

  /** The dispatcher cannot read the record either; its key tells what it would have written. */
  #refuse(record: LogRecord, { code, message }: FreshetError): void {
    const { state } = this.#options
    state.skip(record)
    state.refuse({ ...coordinatesOf(record), code, message })
  }
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
