import { FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import { catalogTopic } from '../schemas/topics.ts'
import type { TraceHeaders } from '../schemas/trace-context.ts'
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

  /** Why the event must not be appended, or null: what is accepted must be indexable, so a blob it names must be stored. */
  refusal(event: ItemEvent): FreshetError | null {
    const missing = blobsOf(event).find(digest => !this.#ports.blobs.renew(digest))
    if (missing === undefined) return null
    return new FreshetError('blob-not-found', `images: no blob ${missing} is stored; upload it first`, {
      details: { field: 'images', blob: `blob:${missing}` },
    })
  }

  /**
   * Appends in order, each event with the trace; resolves when durable. Calls made one after the other without awaiting keep their order.
   * @throws FreshetError `storage-full` | `storage-failed` | `record-too-large`
   */
  async append(events: readonly ItemEvent[], trace: TraceHeaders): Promise<readonly AcceptedEvent[]> {
    const headers = trace.traceparent === undefined ? {} : { headers: { ...trace } }
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
}

function blobsOf(event: ItemEvent): readonly ImageDigest[] {
  if (event.type === 'ItemDeleted') return []
  return event.images.filter(reference => reference.startsWith('blob:')).map(digestOf)
}
