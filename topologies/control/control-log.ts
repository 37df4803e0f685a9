import type { ControlRecord } from '../../schemas/control.ts'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Offset } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { controlTopic } from '../../schemas/topics.ts'
import type { EventLog, LogRecord } from '../event-log.ts'
import { type ControlRejection, type ControlState, foldControl, initialControlState } from './control-state.ts'

const partition = asPartition(0)

/** A record of the control topic as it was folded. */
export interface ToldRecord {
  readonly offset: Offset
  readonly record: ControlRecord
  /** Null: it counted. */
  readonly rejection: ControlRejection | null
  /** After it. */
  readonly state: ControlState
}

export interface ControlLogOptions {
  readonly log: EventLog
  readonly codec: RecordCodec<ControlRecord>
  /** Told each record once, in order. */
  readonly onRecord?: (told: ToldRecord) => void
}

/**
 * The control topic as its reader and writer see it. Everyone folds the same records to the same state, so a decision
 * made on an older state loses, wherever it was made.
 */
export class ControlLog {
  readonly #log: EventLog
  readonly #codec: RecordCodec<ControlRecord>
  readonly #onRecord: ControlLogOptions['onRecord']
  #state = initialControlState
  #next = asOffset(0)
  readonly #rejections: ControlRejection[] = []
  /** Refreshes one after another: each goes on where the last ended. */
  #last: Promise<unknown> = Promise.resolve()

  constructor({ log, codec, onRecord }: ControlLogOptions) {
    this.#log = log
    this.#codec = codec
    this.#onRecord = onRecord
  }

  /** As of the last refresh. */
  get state(): ControlState {
    return this.#state
  }

  /** Records that do not count, in order, as of the last refresh. */
  get rejections(): readonly ControlRejection[] {
    return this.#rejections
  }

  /** Reads to the end of the topic. @throws FreshetError `record-undecodable` | `schema-*` | storage codes; nothing may be decided then */
  refresh(): Promise<ControlState> {
    const refreshed = this.#last.then(() => this.#readToEnd())
    this.#last = refreshed.catch(() => undefined)
    return refreshed
  }

  /** Where the next record is read from that the state does not hold yet. */
  get next(): Offset {
    return this.#next
  }

  /**
   * The state with records that a reader of the control topic gave, in order and from `next` or before; those it holds
   * already are left out. @throws FreshetError `record-undecodable` | `schema-*`
   */
  take(records: readonly LogRecord[]): Promise<ControlState> {
    const taken = this.#last.then(async () => {
      for (const record of records) if (record.offset >= this.#next) await this.#fold(record)
      return this.#state
    })
    this.#last = taken.catch(() => undefined)
    return taken
  }

  /**
   * Appends a decision and returns the state with it.
   * @throws FreshetError `control-conflict` when another was accepted first; `bad-request` when the state does not allow it
   */
  async append(record: ControlRecord): Promise<ControlState> {
    const { rejection: foreseen } = foldControl(await this.refresh(), record, this.#next)
    if (foreseen) throw new FreshetError(foreseen.code, foreseen.reason)
    const [appended] = await this.#log.append(controlTopic, [
      { partition, key: null, value: this.#codec.encode(record) },
    ])
    const state = await this.refresh()
    const rejection = this.#rejections.find(({ offset }) => offset === appended!.offset)
    if (rejection) throw new FreshetError(rejection.code, rejection.reason)
    return state
  }

  async #readToEnd(): Promise<ControlState> {
    const end = (await this.#log.offsets(controlTopic)).get(partition)?.end ?? asOffset(0)
    if (this.#next >= end) return this.#state
    const reader = await this.#log.openReader({
      topic: controlTopic,
      partitions: [partition],
      from: new Map([[partition, this.#next]]),
    })
    try {
      while (reader.position(partition) < end)
        for (const record of await reader.poll(256, 1_000)) await this.#fold(record)
    } finally {
      await reader.close()
    }
    return this.#state
  }

  async #fold({ offset, value }: LogRecord): Promise<void> {
    if (value === null) throw new FreshetError('record-undecodable', `control record ${offset} has no value`)
    const record = await this.#decode(value)
    const { state, rejection } = foldControl(this.#state, record, offset)
    this.#state = state
    this.#next = nextOf(offset)
    if (rejection) this.#rejections.push(rejection)
    this.#onRecord?.({ offset, record, rejection, state })
  }

  async #decode(value: Uint8Array): Promise<ControlRecord> {
    await this.#codec.learn(value)
    return this.#codec.decode(value)
  }
}

function nextOf(offset: Offset): Offset {
  return asOffset(offset + 1)
}
