import {
  asOffset,
  asPartition,
  type ItemId,
  type Offset,
  type Partition,
  type TopicEpoch,
} from '../../../schemas/ids.ts'
import { digestBuckets, elementText, objectsElement, setElement } from '../../../schemas/partition-digest.ts'
import type { CutReplica, CutTaken, ItemAtCut } from '../../../schemas/shard-api.ts'
import { bucketOfItem } from '../cut-comparison.ts'

export const epoch = '00000000000000aa' as TopicEpoch
export const partition = asPartition(0)

/** An event of the catalogue at an offset: an upsert with a picture, or a delete. */
export interface CatalogueEvent {
  readonly offset: number
  readonly itemId: ItemId
  readonly image: string | null
}

export interface Registers {
  attributes: number
  objects: number
  identity: string
  removal: number
  failure: number
}

interface Job {
  readonly itemId: ItemId
  readonly offset: number
  readonly image: string
}

/** A catalogue partition that is written and compacted while it is read. */
export class ModelLog {
  readonly #events: readonly CatalogueEvent[]
  /** Offset of the next event. */
  end = 0
  /** Of the events below it the last of each item is left. */
  #horizon = 0

  constructor(events: readonly CatalogueEvent[]) {
    this.#events = events
  }

  get isWhole(): boolean {
    return this.end === this.#events.length
  }

  write(count: number): void {
    this.end = Math.min(this.end + count, this.#events.length)
  }

  compact(below: number): void {
    this.#horizon = Math.max(this.#horizon, Math.min(below, this.end))
  }

  /** The first event from an offset on that is still there. */
  read(from: number): CatalogueEvent | null {
    for (const event of this.#events.slice(from, this.end)) if (!this.#isGone(event)) return event
    return null
  }

  #isGone({ itemId, offset }: CatalogueEvent): boolean {
    return this.#events.slice(offset + 1, this.#horizon).some(later => later.itemId === itemId)
  }
}

/** What one turn of a side does; numbers choose among what there is. */
export interface Turn {
  readonly does: 'read' | 'finish' | 'supersede' | 'fail'
  readonly which: number
}

const unwritten = (): Registers => ({ attributes: -1, objects: -1, identity: '', removal: -1, failure: -1 })

/**
 * One partition of one generation by the rules of DESIGN sections 3 and 5, without any of their machinery: events are
 * read in order, pictures are finished in any order or superseded, and the watermark is what all of that allows.
 */
export class ModelSide implements CutReplica {
  readonly items = new Map<ItemId, Registers>()
  readonly #log: ModelLog
  readonly #cuts = new Map<string, { readonly offset: number; readonly items: ReadonlyMap<ItemId, Registers> }>()
  readonly #introduced = new Map<ItemId, string>()
  #jobs: Job[] = []
  #read = 0

  constructor(log: ModelLog) {
    this.#log = log
  }

  /** `failing`: pictures that may fail on this side. */
  take({ does, which }: Turn, failing: boolean): void {
    if (does === 'read' || this.#jobs.length === 0) {
      this.#readNext()
      return
    }
    const job = this.#jobs[which % this.#jobs.length]!
    const registers = this.items.get(job.itemId)!
    const isSuperseded =
      registers.removal > job.offset ||
      this.#jobs.some(other => other.itemId === job.itemId && other.offset > job.offset)
    // A superseded job that is dropped is complete only once a newer result is there: it stays a job until then.
    if (does === 'supersede' && isSuperseded) return
    if (does === 'fail' && failing) registers.failure = Math.max(registers.failure, job.offset)
    else if (job.offset > registers.objects) Object.assign(registers, { objects: job.offset, identity: job.image })
    this.#dropComplete()
  }

  finish(): void {
    while (this.#log.read(this.#read) !== null) this.#readNext()
    while (this.#jobs.length > 0) this.take({ does: 'finish', which: 0 }, false)
  }

  /** Offset up to which everything is complete, inclusive. */
  get watermark(): number {
    const next = this.#log.read(this.#read)?.offset ?? this.#log.end
    return Math.min(next, ...this.#jobs.map(({ offset }) => offset)) - 1
  }

  async beginCut(of: Partition, offset: Offset): Promise<CutTaken> {
    const items = new Map([...this.items].map(([itemId, registers]) => [itemId, { ...registers }]))
    const cut = `cut-${this.#cuts.size}`
    this.#cuts.set(cut, { offset, items })
    const all = [...items.keys()].map(itemId => this.#at(cut, itemId))
    const live = all.filter(({ attributes }) => attributes >= 0)
    return {
      cut,
      partition: of,
      offset,
      live: live.length,
      buckets: {
        set: sums(live, ({ itemId, attributes }) => elementText(setElement(itemId, epoch, attributes))),
        objects: sums(live, ({ objects }) => objects),
      },
      listed: all.filter(({ ahead, failed }) => ahead || failed),
    }
  }

  async cutItems(cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]> {
    return itemIds.map(itemId => this.#at(cut, itemId))
  }

  async cutBucket(cut: string, bucket: number): Promise<readonly ItemAtCut[]> {
    const { items } = this.#cuts.get(cut)!
    return [...items.keys()]
      .filter(itemId => bucketOfItem(itemId) === bucket)
      .map(itemId => this.#at(cut, itemId))
      .filter(({ attributes }) => attributes >= 0)
  }

  async endCut(): Promise<void> {}

  #readNext(): void {
    const event = this.#log.read(this.#read)
    if (event === null) return
    const { itemId, offset, image } = event
    this.#read = offset + 1
    const registers = this.items.get(itemId) ?? unwritten()
    this.items.set(itemId, registers)
    if (image === null) {
      registers.removal = offset
      this.#introduced.delete(itemId)
    } else {
      registers.attributes = offset
      if (this.#introduced.get(itemId) !== image) this.#jobs.push({ itemId, offset, image })
      this.#introduced.set(itemId, image)
    }
    this.#dropComplete()
  }

  #dropComplete(): void {
    this.#jobs = this.#jobs.filter(({ itemId, offset }) => {
      const { objects, removal, failure } = this.items.get(itemId)!
      return Math.max(objects, removal, failure) < offset
    })
  }

  #at(cut: string, itemId: ItemId): ItemAtCut {
    const { offset, items } = this.#cuts.get(cut)!
    const { attributes, objects, identity, removal, failure } = items.get(itemId) ?? unwritten()
    const isLive = attributes > removal
    const isSearchable = isLive && objects > removal
    return {
      itemId,
      attributes: asOffset(isLive ? attributes : -1),
      objects: isSearchable ? elementText(objectsElement(itemId, identity)) : null,
      failed: isLive && (!isSearchable || failure > objects),
      ahead: Math.max(attributes, objects, removal, failure) > offset,
    }
  }
}

function sums(items: readonly ItemAtCut[], elementOf: (item: ItemAtCut) => string | null): readonly string[] {
  const totals = new Array<bigint>(digestBuckets).fill(0n)
  for (const item of items) {
    const bucket = bucketOfItem(item.itemId)
    totals[bucket] = (totals[bucket]! + BigInt(`0x${elementOf(item) ?? '0'}`)) % 2n ** 128n
  }
  return totals.map(total => total.toString(16).padStart(32, '0'))
}
