import { type ItemUpserted, imageIdentity } from '../../../schemas/catalog-event.ts'
import type { ItemId, Offset, Partition, TopicEpoch } from '../../../schemas/ids.ts'
import { murmur2 } from '../../../schemas/partition.ts'
import { objectsElement, setElement } from '../../../schemas/partition-digest.ts'
import type { PartitionDigest } from '../../../schemas/shard-api.ts'
import { BucketSums } from '../../../shard-node/items/partition-digest.ts'
import type { ItemEvent } from './event-generator.ts'

/** An event that somebody was told is durable. */
export interface Acknowledged {
  readonly partition: Partition
  readonly offset: Offset
  readonly itemId: ItemId
  /** Of an upsert; null of a delete. */
  readonly title: string | null
}

export interface CatalogRecord {
  readonly partition: Partition
  readonly offset: Offset
  readonly itemId: ItemId
  /** Null values delete. */
  readonly event: ItemEvent | null
}

/** How an item must be found once everything is applied. */
export interface LiveItem {
  /** Of its last upsert. */
  readonly attributesOffset: Offset
  /** Of the event that introduced its pictures. */
  readonly introducedOffset: Offset
  readonly identity: string
  readonly title: string
  readonly category: string
  readonly images: readonly string[]
  /** The last upsert. */
  readonly event: ItemUpserted
}

export interface ExpectedItem {
  readonly itemId: ItemId
  readonly partition: Partition
  /** Of its last event. */
  readonly offset: Offset
  /** Null when that is a delete. */
  readonly live: LiveItem | null
}

/** The sequential fold of the catalog, in the order of its partitions: what every replica has to come to. */
export class CatalogFold {
  readonly #items = new Map<ItemId, ExpectedItem>()
  /** Title by place, to hold acknowledgements against. */
  readonly #records = new Map<string, { readonly itemId: ItemId; readonly title: string | null }>()

  get items(): ReadonlyMap<ItemId, ExpectedItem> {
    return this.#items
  }

  /** Records of a partition come in its order; one that was applied before is ignored. */
  apply({ partition, offset, itemId, event }: CatalogRecord): void {
    const before = this.#items.get(itemId)
    if (before !== undefined && before.offset >= offset) return
    const live = event?.type === 'ItemUpserted' ? liveAfter(event, offset, before?.live ?? null) : null
    this.#items.set(itemId, { itemId, partition, offset, live })
    this.#records.set(placeOf(partition, offset), { itemId, title: live?.title ?? null })
  }

  /** Acknowledged events that the catalog does not hold, in words. Those that log compaction took are held by later ones. */
  missing(acknowledged: readonly Acknowledged[]): readonly string[] {
    const places = new Set<string>()
    return acknowledged.flatMap(each => {
      const place = placeOf(each.partition, each.offset)
      if (places.has(place)) return [`two acknowledged events have place ${place}`]
      places.add(place)
      const found = this.#records.get(place)
      if (found === undefined) return this.#isOvertaken(each) ? [] : [`the acknowledged event at ${place} is lost`]
      const isSame = found.itemId === each.itemId && found.title === each.title
      return isSame ? [] : [`at ${place} there is not the event that was acknowledged`]
    })
  }

  /** Of one partition, as replicas compute them from their registers. */
  digestOf(partition: Partition, epoch: TopicEpoch): PartitionDigest {
    const [set, objects] = [new BucketSums(), new BucketSums()]
    for (const { itemId, partition: own, live } of this.#items.values()) {
      if (live === null || own !== partition) continue
      const idHash = murmur2(Buffer.from(itemId)) >>> 0
      set.add(idHash, setElement(itemId, epoch, live.attributesOffset))
      objects.add(idHash, objectsElement(itemId, live.identity))
    }
    return { set: set.total(), objects: objects.total() }
  }

  #isOvertaken({ itemId, offset }: Acknowledged): boolean {
    return (this.#items.get(itemId)?.offset ?? -1) > offset
  }
}

function liveAfter(event: ItemUpserted, offset: Offset, before: LiveItem | null): LiveItem {
  const identity = imageIdentity(event)
  const introducedOffset = before?.identity === identity ? before.introducedOffset : offset
  const { title, category, images } = event
  return { attributesOffset: offset, introducedOffset, identity, title, category, images, event }
}

const placeOf = (partition: Partition, offset: Offset): string => `${partition}@${offset}`
