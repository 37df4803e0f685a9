import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Offset, type Partition, type TopicEpoch } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import type { AppendedRecord, EventLog, NewRecord } from '../../topologies/event-log.ts'
import { readTopicEpoch } from '../topic-epoch.ts'

export interface CatalogGuardOptions {
  readonly log: EventLog
  readonly codec: RecordCodec<CatalogEvent>
  /** That the generations with queries were built from. */
  readonly topicEpoch: TopicEpoch
  /** Called once. */
  readonly onRecreated: (error: FreshetError) => void
}

type CatalogOffsets = Awaited<ReturnType<EventLog['offsets']>>

/**
 * Keeps events out of a catalog topic that was created again: nobody would index them, and what is acknowledged must
 * not be lost. The topic's markers are read again whenever there is a reason to doubt: a partition ends before where
 * it ended, or the log was away.
 *
 * States: trusted ⇄ doubted → recreated, which is for good: a new epoch needs a new generation.
 */
export class CatalogGuard {
  readonly #options: CatalogGuardOptions
  readonly #ends = new Map<Partition, Offset>()
  #isDoubted = true
  #checking: Promise<void> | null = null
  #recreated: FreshetError | null = null

  constructor(options: CatalogGuardOptions) {
    this.#options = options
  }

  /** That of the events it lets in. */
  get topicEpoch(): TopicEpoch {
    return this.#options.topicEpoch
  }

  /** To be called now and then. @throws FreshetError `topic-epoch` when the topic was created again; codes of the log */
  async look(): Promise<CatalogOffsets> {
    const { log } = this.#options
    const before = new Map(this.#ends)
    try {
      const offsets = await log.offsets(catalogTopic)
      for (const [partition, { end }] of offsets) this.#noteEnd(partition, end, before.get(partition))
      await this.#resolveDoubt()
      return offsets
    } catch (thrown) {
      this.#isDoubted = true
      throw thrown
    }
  }

  /** As the log's, of the catalog. @throws FreshetError `topic-epoch` for events that went into another topic of its name; codes of the log */
  async append(records: readonly NewRecord[]): Promise<readonly AppendedRecord[]> {
    if (this.#recreated !== null) throw this.#recreated
    const before = records.map(({ partition }) => this.#ends.get(partition))
    const appended = await this.#options.log.append(catalogTopic, records)
    appended.forEach(({ partition, offset }, i) => {
      this.#noteEnd(partition, asOffset(offset + 1), before[i])
    })
    await this.#resolveDoubt()
    return appended
  }

  /** `before`: the end known when it was asked for; answers may overtake each other. */
  #noteEnd(partition: Partition, end: Offset, before: Offset | undefined): void {
    if (before !== undefined && end < before) this.#isDoubted = true
    this.#ends.set(partition, asOffset(Math.max(end, this.#ends.get(partition) ?? 0)))
  }

  async #resolveDoubt(): Promise<void> {
    if (this.#recreated !== null) throw this.#recreated
    if (!this.#isDoubted) return
    // One look at the markers for all that wait for it.
    this.#checking ??= this.#checkMarkers().finally(() => {
      this.#checking = null
    })
    await this.#checking
  }

  async #checkMarkers(): Promise<void> {
    const { log, codec, topicEpoch, onRecreated } = this.#options
    const epoch = await readTopicEpoch(log, codec)
    if (epoch !== topicEpoch) {
      this.#recreated = new FreshetError(
        'topic-epoch',
        `the catalog topic was created again: its epoch is ${epoch}, the index was built from ${topicEpoch}`,
      )
      onRecreated(this.#recreated)
      throw this.#recreated
    }
    this.#ends.clear()
    this.#isDoubted = false
  }
}
