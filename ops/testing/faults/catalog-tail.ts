import { type CatalogEvent, topicEpochKey } from '../../../schemas/catalog-event.ts'
import { asFreshetError, type FreshetError } from '../../../schemas/errors.ts'
import { asPartition, type Offset, type Partition, parseItemId } from '../../../schemas/ids.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import { catalogTopic } from '../../../schemas/topics.ts'
import type { EventLog, LogReader, LogRecord } from '../../../topologies/event-log.ts'
import type { CatalogFold } from './catalog-fold.ts'
import { until } from './until.ts'

export interface CatalogTailOptions {
  readonly log: EventLog
  readonly codec: RecordCodec<CatalogEvent>
  readonly fold: CatalogFold
  readonly partitions: number
}

/**
 * Reads the catalog into the fold as it grows: behind a reader that came later, log compaction could have taken a
 * delete together with what it deleted.
 */
export class CatalogTail {
  readonly #options: CatalogTailOptions
  readonly #reader: LogReader
  readonly #running: Promise<void>
  #isClosing = false
  #failure: FreshetError | null = null

  static async start(options: CatalogTailOptions): Promise<CatalogTail> {
    const partitions = Array.from({ length: options.partitions }, (_, i) => asPartition(i))
    return new CatalogTail(options, await options.log.openReader({ topic: catalogTopic, partitions, from: new Map() }))
  }

  private constructor(options: CatalogTailOptions, reader: LogReader) {
    this.#options = options
    this.#reader = reader
    this.#running = this.#follow()
  }

  /** Waits until all is folded up to where the catalog ends now; resolves with those ends, exclusive. */
  async reachEnd(): Promise<ReadonlyMap<Partition, Offset>> {
    const offsets = await this.#options.log.offsets(catalogTopic)
    const ends = new Map([...offsets].map(([partition, { end }]) => [partition, end] as const))
    await until('the catalog is read to its end', () => {
      if (this.#failure !== null) throw this.#failure
      return [...ends].every(([partition, end]) => this.#reader.position(partition) >= end)
    })
    return ends
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await this.#reader.close()
    await this.#running
  }

  async #follow(): Promise<void> {
    while (!this.#isClosing)
      try {
        for (const record of await this.#reader.poll(5_000, 500)) this.#apply(record)
      } catch (thrown) {
        const error = asFreshetError(thrown)
        if (error.code === 'log-unavailable') continue
        this.#failure = error
        return
      }
  }

  #apply({ partition, offset, key, value }: LogRecord): void {
    const name = Buffer.from(key ?? '').toString('utf8')
    if (name === topicEpochKey) return
    const event = value === null ? null : this.#options.codec.decode(value)
    if (event?.type === 'TopicEpoch') throw new Error(`an epoch marker at ${partition}@${offset} under another key`)
    this.#options.fold.apply({ partition, offset, itemId: parseItemId(name), event })
  }
}
