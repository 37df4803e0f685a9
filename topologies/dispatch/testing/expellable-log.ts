import type { Offset, Partition } from '../../../schemas/ids.ts'
import type { EventLog, LogReader, ReaderOptions } from '../../event-log.ts'

/**
 * A process's sight of the log, which can be stopped as by a long pause: while stopped, nothing that it asks is done or
 * answered. Expelled, its reader is no member of the group any more, and does not know; it joins again when it goes on.
 */
export class ExpellableLog {
  readonly log: EventLog
  readonly #inner: EventLog
  #going = Promise.withResolvers<void>()
  #reader: ExpellableReader | null = null
  /** Records appended since the last `stop`. */
  appendedAfterStop = 0

  constructor(inner: EventLog) {
    this.#inner = inner
    this.#going.resolve()
    this.log = {
      ensureTopic: spec => inner.ensureTopic(spec),
      deleteTopic: topic => inner.deleteTopic(topic),
      topicSpec: topic => inner.topicSpec(topic),
      partitionCount: topic => inner.partitionCount(topic),
      append: async (topic, records) => {
        await this.#going.promise
        this.appendedAfterStop += records.length
        return inner.append(topic, records)
      },
      offsets: topic => this.#going.promise.then(() => inner.offsets(topic)),
      openReader: options => this.#open(options),
      committed: (group, topic) => this.#going.promise.then(() => inner.committed(group, topic)),
      close: () => inner.close(),
    }
  }

  stop(): void {
    this.#going = Promise.withResolvers()
    this.appendedAfterStop = 0
  }

  async expel(): Promise<void> {
    await this.#reader?.expel()
  }

  goOn(): void {
    this.#going.resolve()
  }

  async #open(options: ReaderOptions): Promise<LogReader> {
    const open = () => this.#inner.openReader(options)
    const going = () => this.#going.promise
    const reader = new ExpellableReader(await open(), open, going)
    if (options.partitions === 'group') this.#reader = reader
    return reader
  }
}

class ExpellableReader implements LogReader {
  #inner: LogReader
  readonly #open: () => Promise<LogReader>
  readonly #going: () => Promise<void>
  #isExpelled = false
  #earlierEpochs = 0

  constructor(inner: LogReader, open: () => Promise<LogReader>, going: () => Promise<void>) {
    this.#inner = inner
    this.#open = open
    this.#going = going
  }

  async expel(): Promise<void> {
    this.#isExpelled = true
    await this.#inner.close()
  }

  async poll(maxRecords: number, waitMs: number) {
    await this.#going()
    if (!this.#isExpelled) {
      const records = await this.#inner.poll(maxRecords, waitMs)
      await this.#going()
      if (!this.#isExpelled || records.length > 0) return records
    }
    this.#isExpelled = false
    this.#earlierEpochs = this.assignment().epoch
    this.#inner = await this.#open()
    return []
  }

  assignment() {
    const { epoch, partitions } = this.#inner.assignment()
    return { epoch: this.#earlierEpochs + epoch, partitions }
  }

  pause(partitions: readonly Partition[]): void {
    this.#inner.pause(partitions)
  }

  resume(partitions: readonly Partition[]): void {
    this.#inner.resume(partitions)
  }

  position(partition: Partition): Offset {
    return this.#inner.position(partition)
  }

  async commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void> {
    await this.#going()
    await this.#inner.commit(offsets)
  }

  async close(): Promise<void> {
    await this.#inner.close()
  }
}
