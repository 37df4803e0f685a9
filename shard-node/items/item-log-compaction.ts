import { setImmediate as nextTurn } from 'node:timers/promises'
import { FreshetError } from '../../schemas/errors.ts'
import type { ItemLog, LogRecord } from './item-log.ts'
import { decodeRecord, identityOf, RecordEncoder, requireIntact } from './item-record.ts'
import type { ItemTable } from './item-table.ts'

/** Garbage against what is live: let be up to the first, more than the second only for a moment. */
const dueRatio = 0.5
const overdueRatio = 1
/** What compaction may put ahead of the disk. */
const waitingBytes = 2 ** 20

/**
 * Gives the disk back what replaced records take: appends again what is needed of the oldest file, then gives that
 * file up. Always the oldest, so that no record outlives the one that says its item was forgotten.
 */
export class ItemLogCompaction {
  readonly #log: ItemLog
  readonly #table: ItemTable
  readonly #garbageBytes: number
  readonly #encoder = new RecordEncoder()
  #running: Promise<void> | null = null
  #isStopped = false
  #failure: unknown = null

  constructor(log: ItemLog, table: ItemTable, garbageBytes: number) {
    this.#log = log
    this.#table = table
    this.#garbageBytes = garbageBytes
  }

  /** Why it cannot go on: a file cannot be read, or is damaged. What cannot be written is the log's to tell. */
  get failure(): unknown {
    return this.#failure
  }

  /** Runs in the background when there is enough to gain. */
  start(): void {
    if (this.#running !== null || this.#isStopped || this.#failure !== null || !this.#hasGarbage(dueRatio)) return
    this.#running = this.#run().finally(() => {
      this.#running = null
    })
  }

  /** Resolves once there is not too much garbage: whoever makes more waits for it. Tries again what the disk refused. */
  async keepUp(): Promise<void> {
    if (this.#failure instanceof FreshetError && this.#failure.retryable) this.#failure = null
    this.start()
    while (this.#running !== null && this.#hasGarbage(overdueRatio)) await nextTurn()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  #hasGarbage(ratio: number): boolean {
    const live = this.#table.liveBytes
    return this.#log.bytes - live > live * ratio + this.#garbageBytes
  }

  async #run(): Promise<void> {
    try {
      while (!this.#isStopped && this.#hasGarbage(dueRatio)) await this.#rewriteOldest()
    } catch (thrown) {
      if (thrown !== this.#log.failure) this.#failure = thrown
    }
  }

  async #rewriteOldest(): Promise<void> {
    for await (const records of this.#log.walk(this.#log.oldest())) {
      if (this.#isStopped) return
      for (const record of records) this.#keep(record)
      await this.#log.settle(waitingBytes)
    }
    this.#log.dropOldest()
  }

  /** Appends the record again if it is the newest of its register. */
  #keep(record: LogRecord): void {
    const { columns } = this.#table
    const { type, item } = identityOf(record)
    switch (type) {
      case 'attributes':
        if (columns.attributesAt[item] === record.place)
          columns.attributesAt[item] = this.#append(record, columns.hasAttributes(item))
        return
      case 'objects':
        if (columns.objectsAt[item] === record.place)
          columns.objectsAt[item] = this.#append(record, columns.hasObjects(item))
        return
      case 'removal':
        if (columns.removalAt[item] === record.place) columns.removalAt[item] = this.#append(record, true)
        return
      case 'failure': {
        const failure = this.#table.failureOf(item)
        if (failure?.at === record.place)
          this.#table.writeFailure(item, { ...failure, at: this.#append(record, failure.report !== null) })
        return
      }
      case 'forgotten':
      case undefined:
        return
    }
  }

  /** A content that does not count is left out. */
  #append(record: LogRecord, counts: boolean): number {
    requireIntact(record)
    if (counts) return this.#log.append(record.block.subarray(record.from, record.to))
    const bare = { ...decodeRecord(record), words: [], objectCount: 0, content: null }
    return this.#log.append(this.#encoder.encode(bare))
  }
}
