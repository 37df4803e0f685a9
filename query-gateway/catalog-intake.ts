import { FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import { catalogTopic } from '../schemas/topics.ts'
import type { AppendedRecord, NewRecord } from '../topologies/event-log.ts'
import type { ItemEvent } from './item-event.ts'
import type { GatewayPorts } from './ports.ts'
import { digestOf } from './query-image.ts'
import type { AcceptedEvent } from './receipt.ts'

type IntakePorts = Pick<GatewayPorts, 'log' | 'catalogCodec' | 'partitions' | 'topicEpoch' | 'blobs'>

/** Puts item events into the catalog topic: the one place where the gateway publishes. */
export class CatalogIntake {
  readonly #ports: IntakePorts
  readonly #accepted: (count: number) => void

  /** `accepted` is told of every durable append. */
  constructor(ports: IntakePorts, accepted: (count: number) => void) {
    this.#ports = ports
    this.#accepted = accepted
  }

  /**
   * Per event why it must not be appended, or null. An event may name a blob only when the blob is stored: what is
   * accepted must be indexable. No promise when no event names one.
   */
  refusals(events: readonly ItemEvent[]): Promise<readonly (FreshetError | null)[]> | null {
    if (!events.some(event => blobsOf(event).length > 0)) return null
    return Promise.all(events.map(event => this.#missingBlob(event)))
  }

  /**
   * Appends in order; resolves when durable. Calls made one after the other without awaiting keep their order.
   * @throws FreshetError `storage-full` | `storage-failed` | `record-too-large`
   */
  async append(events: readonly ItemEvent[], traceparent: string): Promise<readonly AcceptedEvent[]> {
    const headers = traceparent === '' ? {} : { headers: { traceparent } }
    const records = events.map((event): NewRecord => ({ ...this.#record(event), ...headers }))
    const appended = await this.#ports.log.append(catalogTopic, records)
    this.#accepted(appended.length)
    return appended.map((record, index) => this.#acceptedEvent(record, events[index]!))
  }

  #record(event: ItemEvent): NewRecord {
    return {
      partition: partitionOf(event.itemId, this.#ports.partitions),
      key: Buffer.from(event.itemId),
      value: this.#ports.catalogCodec.encode(event),
    }
  }

  #acceptedEvent({ partition, offset, appendTimeMs }: AppendedRecord, { itemId }: ItemEvent): AcceptedEvent {
    return { epoch: this.#ports.topicEpoch, partition, offset, itemId, acceptedAtMs: appendTimeMs }
  }

  async #missingBlob(event: ItemEvent): Promise<FreshetError | null> {
    for (const digest of blobsOf(event))
      if (!(await this.#ports.blobs.has(digest)))
        return new FreshetError('blob-not-found', `images: no blob ${digest} is stored; upload it first`, {
          details: { field: 'images', blob: `blob:${digest}` },
        })
    return null
  }
}

function blobsOf(event: ItemEvent): readonly ImageDigest[] {
  if (event.type === 'ItemDeleted') return []
  return event.images.filter(reference => reference.startsWith('blob:')).map(digestOf)
}
