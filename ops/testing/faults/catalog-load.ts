import { setTimeout as delay } from 'node:timers/promises'
import { decodeReceipt } from '../../../query-gateway/receipt.ts'
import type { BulkLine } from '../../../schemas/http-items.ts'
import type { Offset, Partition } from '../../../schemas/ids.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import { catalogTopic } from '../../../schemas/topics.ts'
import type { NewRecord } from '../../../topologies/event-log.ts'
import type { Acknowledged, ExpectedItem } from './catalog-fold.ts'
import type { EventGenerator, ItemEvent } from './event-generator.ts'
import type { FaultInstallation } from './fault-installation.ts'
import { until } from './until.ts'

export interface CatalogLoadOptions {
  readonly installation: FaultInstallation
  readonly generator: EventGenerator
  /** 0 to 1, seeded. */
  readonly random: () => number
}

const batchMax = 64
const idleMs = 20
const afterFailureMs = 250
/** What was not offered while servers were away is not offered at once when they are back. */
const longestBacklogMs = 1_000

/**
 * Catalogue services at work: one publishes through the gateway, one writes to the topic itself. Keeps what was
 * acknowledged. What was not is not sent again; it may be in the log all the same.
 */
export class CatalogLoad {
  readonly #options: CatalogLoadOptions
  readonly #acknowledged: Acknowledged[] = []
  readonly #latest = new Map<Partition, Offset>()
  #refused = new Map<string, number>()
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()
  #failure: Error | null = null

  constructor(options: CatalogLoadOptions) {
    this.#options = options
  }

  get acknowledged(): readonly Acknowledged[] {
    return this.#acknowledged
  }

  /** Highest acknowledged offset per partition. */
  get latest(): ReadonlyMap<Partition, Offset> {
    return new Map(this.#latest)
  }

  /** How often events were not acknowledged since the last start, by error code. */
  get refused(): ReadonlyMap<string, number> {
    return this.#refused
  }

  /** Half of the rate through each way in. */
  start(eventsPerSecond: number): void {
    this.#isStopping = false
    this.#refused = new Map()
    const ways = [
      (events: readonly ItemEvent[]) => this.#throughGateway(events),
      (events: readonly ItemEvent[]) => this.#toTopic(events),
    ]
    this.#running = Promise.all(ways.map(send => this.#offer(send, eventsPerSecond / ways.length)))
  }

  /** Resolves when nothing is on its way any more. @throws Error when an answer was not as it must be */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
    if (this.#failure !== null) throw this.#failure
  }

  /** Resolves when so many more events were acknowledged. @throws Error when they are not in time */
  async flowing(events: number, withinMs = 120_000): Promise<void> {
    const goal = this.#acknowledged.length + events
    await until(
      `${events} more events are acknowledged`,
      () => {
        if (this.#failure !== null) throw this.#failure
        return this.#acknowledged.length >= goal
      },
      withinMs,
    )
  }

  /** Publishes every item once more: those that live with another picture, the others as deleted. While nothing else flows. */
  async renewAll(items: readonly ExpectedItem[]): Promise<void> {
    const { pictures } = this.#options.installation
    const events = items.map(({ itemId, live }): ItemEvent => {
      if (live === null) return { type: 'ItemDeleted', itemId }
      const { reference } = pictures.find(each => each.reference !== live.images[0])!
      return { ...live.event, images: [reference], title: `${live.title}, renewed` }
    })
    for (let at = 0; at < events.length; at += batchMax) await this.#toTopic(events.slice(at, at + batchMax))
  }

  async #offer(send: (events: readonly ItemEvent[]) => Promise<void>, eventsPerSecond: number): Promise<void> {
    let beganMs = performance.now()
    let offered = 0
    while (!this.#isStopping) {
      const due = Math.floor(((performance.now() - beganMs) * eventsPerSecond) / 1000) - offered
      if (due > (eventsPerSecond * longestBacklogMs) / 1000) {
        beganMs = performance.now()
        offered = 0
      }
      const events = this.#options.generator.take(Math.min(due, batchMax))
      offered += events.length
      if (events.length === 0) await delay(idleMs)
      else if (!(await this.#sent(send, events))) await delay(afterFailureMs)
    }
  }

  async #sent(send: (events: readonly ItemEvent[]) => Promise<void>, events: readonly ItemEvent[]): Promise<boolean> {
    try {
      await send(events)
      return true
    } catch (thrown) {
      this.#refuse(codeOf(thrown), events.length)
      return false
    }
  }

  async #throughGateway(events: readonly ItemEvent[]): Promise<void> {
    const { client, topicEpoch } = this.#options.installation
    let answered = 0
    try {
      for await (const answer of client.bulk(events.map(lineOf))) {
        const event = events[answered++]!
        if ('error' in answer) {
          this.#refuse(answer.error.code, 1)
          continue
        }
        const { partition, offset, itemId } = decodeReceipt(answer.receipt, topicEpoch)
        if (itemId !== event.itemId) this.#failure ??= new Error(`the receipt of ${event.itemId} is of ${itemId}`)
        this.#acknowledge(event, partition, offset)
      }
    } catch (thrown) {
      this.#refuse(codeOf(thrown), events.length - answered)
      await delay(afterFailureMs)
    }
  }

  async #toTopic(events: readonly ItemEvent[]): Promise<void> {
    const { log } = this.#options.installation
    const appended = await log.append(
      catalogTopic,
      events.map(event => this.#recordOf(event)),
    )
    appended.forEach(({ partition, offset }, i) => {
      this.#acknowledge(events[i]!, partition, offset)
    })
  }

  /** Every other delete is a null value, as foreign producers write it. */
  #recordOf(event: ItemEvent): NewRecord {
    const { codecs } = this.#options.installation
    const isNull = event.type === 'ItemDeleted' && this.#options.random() < 0.5
    return {
      partition: partitionOf(event.itemId, partitions),
      key: Buffer.from(event.itemId),
      value: isNull ? null : codecs.catalog.encode(event),
    }
  }

  #acknowledge(event: ItemEvent, partition: Partition, offset: Offset): void {
    const title = event.type === 'ItemUpserted' ? event.title : null
    this.#acknowledged.push({ partition, offset, itemId: event.itemId, title })
    if (offset > (this.#latest.get(partition) ?? -1)) this.#latest.set(partition, offset)
  }

  #refuse(code: string, count: number): void {
    this.#refused.set(code, (this.#refused.get(code) ?? 0) + count)
  }
}

/** The default of the configuration. */
export const partitions = 8

function lineOf(event: ItemEvent): BulkLine {
  if (event.type === 'ItemDeleted') return { itemId: event.itemId, deleted: true }
  const { type: _type, images, regions, ...rest } = event
  return { ...rest, images: [...images], regions: [...regions] }
}

function codeOf(thrown: unknown): string {
  if (thrown instanceof Error && 'code' in thrown) return String(thrown.code)
  return String(thrown)
}
