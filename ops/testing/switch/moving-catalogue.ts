import { setTimeout as delay } from 'node:timers/promises'
import type { FreshetClient } from '../../../schemas/client.ts'
import type { Item } from '../../../schemas/http-items.ts'
import { wasCut } from './gateway-pair.ts'

export interface MovingCatalogueOptions {
  readonly client: FreshetClient
  /** All are published at first; their pictures are all that there are. */
  readonly items: readonly Item[]
  /** 0 to 1, seeded. */
  readonly random: () => number
  readonly eventsPerSecond: number
}

const batchMax = 64
const idleMs = 20
const deleteWithinMs = 60_000

/**
 * A catalogue service at work through the gateway: attributes and pictures change, items are deleted and come back.
 * Remembers what was acknowledged, and since when a deleted item must not be returned any more.
 */
export class MovingCatalogue {
  readonly #options: MovingCatalogueOptions
  readonly #live = new Map<string, Item>()
  readonly #receipts = new Map<string, string>()
  readonly #goneSinceMs = new Map<string, number>()
  /** Being deleted: nothing else is published of them meanwhile. */
  readonly #leaving = new Map<string, Promise<void>>()
  readonly #failures: string[] = []
  #events = 0
  #isStopping = false
  #running: Promise<void> = Promise.resolve()

  constructor(options: MovingCatalogueOptions) {
    this.#options = options
  }

  /** Acknowledged events. */
  get events(): number {
    return this.#events
  }

  /** Events that were not acknowledged, and deletes that did not come through, in words. */
  get failures(): readonly string[] {
    return this.#failures
  }

  /** What was acknowledged last of each item that lives. Whole only while nothing flows. */
  get live(): ReadonlyMap<string, Item> {
    return this.#live
  }

  /** Of the last event of each item that lives. */
  get receipts(): ReadonlyMap<string, string> {
    return this.#receipts
  }

  /** Whether a search that began then may not return it. */
  isGone(itemId: string, sinceMs: number): boolean {
    const goneMs = this.#goneSinceMs.get(itemId)
    return goneMs !== undefined && goneMs <= sinceMs
  }

  async publishAll(): Promise<void> {
    await this.#publish(this.#options.items)
  }

  start(): void {
    this.#isStopping = false
    this.#running = this.#flow()
  }

  /** Resolves when nothing is on its way any more. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
    await Promise.all(this.#leaving.values())
  }

  async #flow(): Promise<void> {
    const { eventsPerSecond } = this.#options
    const beganMs = performance.now()
    for (let offered = 0; !this.#isStopping; ) {
      const due = Math.floor(((performance.now() - beganMs) * eventsPerSecond) / 1000) - offered
      const upserts = new Map<string, Item>()
      for (let i = 0; i < Math.min(due, batchMax); i++, offered++) {
        const item = this.#any(this.#options.items)
        // Of an item one event at a time, so that it is known which one is the last.
        if (this.#leaving.has(item.itemId) || upserts.has(item.itemId)) continue
        const upsert = this.#next(item)
        if (upsert !== null) upserts.set(item.itemId, upsert)
      }
      if (upserts.size === 0) await delay(idleMs)
      else await this.#publish([...upserts.values()])
    }
  }

  /** Null for a delete, which goes its own way. */
  #next(item: Item): Item | null {
    const { items, random } = this.#options
    const before = this.#live.get(item.itemId)
    const chance = random()
    if (before !== undefined && chance < 0.12) {
      this.#leaving.set(
        item.itemId,
        this.#delete(item.itemId).finally(() => this.#leaving.delete(item.itemId)),
      )
      return null
    }
    const images = chance < 0.35 ? this.#any(items).images : (before ?? item).images
    const price = Math.floor(random() * 100_000) / 100
    return { ...item, ...(images === undefined ? {} : { images }), price, title: `event ${this.#events} ${random()}` }
  }

  async #publish(items: readonly Item[]): Promise<void> {
    for (const { itemId } of items) this.#goneSinceMs.delete(itemId)
    for (let left = items; left.length > 0; ) left = await this.#send(left)
  }

  /** Resolves with those that have no receipt because the gateway was killed: what became of them is not known. */
  async #send(items: readonly Item[]): Promise<readonly Item[]> {
    let answered = 0
    try {
      for await (const answer of this.#options.client.bulk(items)) {
        const item = items[answered++]!
        if ('error' in answer) this.#failures.push(`${item.itemId}: ${answer.error.message}`)
        else {
          this.#live.set(item.itemId, item)
          this.#receipts.set(item.itemId, answer.receipt)
        }
        this.#events++
      }
    } catch (thrown) {
      if (wasCut(thrown)) return items.slice(answered)
      this.#failures.push(`${items.length - answered} events: ${(thrown as Error).message}`)
    }
    return []
  }

  async #delete(itemId: string): Promise<void> {
    try {
      const { status } = await this.#options.client.deleteAndWait(itemId, { timeoutMs: deleteWithinMs })
      this.#events++
      this.#live.delete(itemId)
      this.#receipts.delete(itemId)
      if (status === 'removed') this.#goneSinceMs.set(itemId, performance.now())
      else this.#failures.push(`${itemId} was deleted and is ${status}`)
    } catch (thrown) {
      this.#failures.push(`${itemId} could not be deleted: ${(thrown as Error).message}`)
    }
  }

  #any<T>(list: readonly T[]): T {
    return list[Math.floor(this.#options.random() * list.length)]!
  }
}
