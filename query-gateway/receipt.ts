import { crc32 } from 'node:zlib'
import { FreshetError } from '../schemas/errors.ts'
import { asOffset, asPartition, type ItemId, type Offset, type Partition, type TopicEpoch } from '../schemas/ids.ts'

/** What a receipt stands for: one accepted event. */
export interface AcceptedEvent {
  readonly epoch: TopicEpoch
  readonly partition: Partition
  readonly offset: Offset
  readonly itemId: ItemId
  /** Broker's append time. */
  readonly acceptedAtMs: number
}

const format = 1
const itemIdAt = 23
const checksumBytes = 4

/**
 * Receipt of an accepted event, base64url of: format u8, epoch 8 bytes, partition u16, offset u48, append time u48,
 * item id as UTF-8, CRC-32 u32 of all before; big-endian. Opaque to callers, so that it may change with the format byte.
 */
export function encodeReceipt(event: AcceptedEvent): string {
  const idBytes = Buffer.byteLength(event.itemId)
  const bytes = Buffer.allocUnsafe(itemIdAt + idBytes + checksumBytes)
  bytes[0] = format
  bytes.write(event.epoch, 1, 'hex')
  bytes.writeUInt16BE(event.partition, 9)
  bytes.writeUIntBE(event.offset, 11, 6)
  bytes.writeUIntBE(event.acceptedAtMs, 17, 6)
  bytes.write(event.itemId, itemIdAt, 'utf8')
  bytes.writeUInt32BE(crc32(bytes.subarray(0, itemIdAt + idBytes)), itemIdAt + idBytes)
  return bytes.toString('base64url')
}

/** @throws FreshetError `bad-receipt`: damaged, or of another life of the catalog topic */
export function decodeReceipt(receipt: string, epoch: TopicEpoch): AcceptedEvent {
  const bytes = Buffer.from(receipt, 'base64url')
  const bodyBytes = bytes.length - checksumBytes
  const intact =
    bodyBytes > itemIdAt &&
    bytes[0] === format &&
    crc32(bytes.subarray(0, bodyBytes)) === bytes.readUInt32BE(bodyBytes) &&
    bytes.toString('base64url') === receipt
  if (!intact) throw new FreshetError('bad-receipt', 'this is not a receipt; use the string as it was returned')
  if (bytes.toString('hex', 1, 9) !== epoch)
    throw new FreshetError('bad-receipt', 'the receipt is of another installation, or of a catalog that was re-created')
  return {
    epoch,
    partition: asPartition(bytes.readUInt16BE(9)),
    offset: asOffset(bytes.readUIntBE(11, 6)),
    acceptedAtMs: bytes.readUIntBE(17, 6),
    itemId: bytes.toString('utf8', itemIdAt, bodyBytes) as ItemId,
  }
}
