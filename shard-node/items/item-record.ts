import { crc32 } from 'node:zlib'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, type ItemId, itemIdMaxBytes, type Partition } from '../../schemas/ids.ts'
import { maxItems } from './growable.ts'

/** Records of an item log; FORMAT.md, "items", has them byte by byte. */
export const recordTypes = { attributes: 1, objects: 2, removal: 3, failure: 4, forgotten: 5 } as const
export type RecordType = keyof typeof recordTypes

const typeNames: readonly (RecordType | undefined)[] = [
  undefined,
  'attributes',
  'objects',
  'removal',
  'failure',
  'forgotten',
]

export const recordHeaderBytes = 48
const flagSet = 1

/** A record but for its content. */
export interface RecordHeader {
  readonly type: RecordType
  readonly item: number
  readonly partition: Partition
  /** Version of the register; of `forgotten`: of the removal. */
  readonly offset: number
  /** When the mutation was appended to its log. */
  readonly appendTimeMs: number
  /** Of attributes: available. Of a failure: retryable. */
  readonly flag: boolean
  /** Of attributes: price or NaN. Of objects: ordinal of the first row. Of a removal: its time. Of a failure: attempts. */
  readonly value: number
  readonly objectCount: number
  /** Of attributes: filter tokens. Of objects: the element of the digest, then the tokens of the images. */
  readonly words: ArrayLike<number>
  readonly itemId: ItemId
}

export interface WrittenRecord extends RecordHeader {
  /** Null: none, or it does not count any more. */
  readonly content: object | null
}

export interface ReadRecord extends RecordHeader {
  readonly words: readonly number[]
  readonly hasContent: boolean
}

/** Encodes one record at a time. */
export class RecordEncoder {
  #buffer = Buffer.alloc(1 << 16)

  /** Valid until the next call. */
  encode(record: WrittenRecord): Buffer {
    const { words } = record
    const content = record.content === null ? '' : JSON.stringify(record.content)
    this.#reserve(recordHeaderBytes + words.length * 4 + (record.itemId.length + content.length) * 3)
    const buffer = this.#buffer
    buffer[8] = recordTypes[record.type]
    buffer[9] = record.flag ? flagSet : 0
    buffer.writeUInt16LE(record.partition, 10)
    buffer.writeUInt32LE(record.item, 12)
    buffer.writeDoubleLE(record.offset, 16)
    buffer.writeDoubleLE(record.appendTimeMs, 24)
    buffer.writeDoubleLE(record.value, 32)
    buffer.writeUInt16LE(record.objectCount, 42)
    buffer.writeUInt32LE(words.length, 44)
    let at = recordHeaderBytes
    for (let i = 0; i < words.length; i++) at = buffer.writeUInt32LE(words[i]!, at)
    const idBytes = buffer.write(record.itemId, at)
    buffer.writeUInt16LE(idBytes, 40)
    at += idBytes
    at += buffer.write(content, at)
    buffer.writeUInt32LE(at, 4)
    buffer.writeUInt32LE(crc32(buffer.subarray(4, at)), 0)
    return buffer.subarray(0, at)
  }

  #reserve(bytes: number): void {
    if (bytes > this.#buffer.length) this.#buffer = Buffer.alloc(bytes)
  }
}

/** Bytes of a record without words and content. */
export function bareBytes(idBytes: number): number {
  return recordHeaderBytes + idBytes
}

/** Where a record lies in a buffer. */
export interface RecordSpan {
  readonly block: Buffer
  readonly from: number
  readonly to: number
}

/** Length of the record that begins there; infinite when too little of it is in the buffer to tell, or it is none. */
export function lengthAt(block: Buffer, from: number): number {
  if (from + 8 > block.length) return Number.POSITIVE_INFINITY
  const length = block.readUInt32LE(from + 4)
  return length < recordHeaderBytes ? Number.POSITIVE_INFINITY : length
}

/** @throws FreshetError `checkpoint-corrupt` when the bytes are not those of one whole record */
export function requireIntact({ block, from, to }: RecordSpan): void {
  if (lengthAt(block, from) !== to - from || crc32(block.subarray(from + 4, to)) !== block.readUInt32LE(from))
    throw damagedRecord()
}

/** What tells whether a record is still needed. */
export function identityOf({ block, from }: RecordSpan): {
  readonly type: RecordType | undefined
  readonly item: number
} {
  return { type: typeNames[block[from + 8]!], item: block.readUInt32LE(from + 12) }
}

/** @throws FreshetError `checkpoint-corrupt` when the fields cannot be those of a record */
export function decodeRecord({ block, from, to }: RecordSpan): ReadRecord {
  const type = typeNames[block[from + 8]!]
  const item = block.readUInt32LE(from + 12)
  const idBytes = block.readUInt16LE(from + 40)
  const wordCount = block.readUInt32LE(from + 44)
  const wordsAt = from + recordHeaderBytes
  const idAt = wordsAt + wordCount * 4
  const isSound = idAt + idBytes <= to && idBytes > 0 && idBytes <= itemIdMaxBytes
  if (type === undefined || item >= maxItems || !isSound) throw damagedRecord()
  const words: number[] = []
  for (let at = wordsAt; at < idAt; at += 4) words.push(block.readUInt32LE(at))
  return {
    type,
    item,
    partition: asPartition(block.readUInt16LE(from + 10)),
    offset: block.readDoubleLE(from + 16),
    appendTimeMs: block.readDoubleLE(from + 24),
    flag: block[from + 9] === flagSet,
    value: block.readDoubleLE(from + 32),
    objectCount: block.readUInt16LE(from + 42),
    words,
    itemId: block.toString('utf8', idAt, idAt + idBytes) as ItemId,
    hasContent: idAt + idBytes < to,
  }
}

/** @throws FreshetError `checkpoint-corrupt` when there is none */
export function decodeContent({ block, from, to }: RecordSpan): unknown {
  const at = from + recordHeaderBytes + block.readUInt32LE(from + 44) * 4 + block.readUInt16LE(from + 40)
  if (at >= to) throw damagedRecord()
  return JSON.parse(block.toString('utf8', at, to))
}

function damagedRecord(): FreshetError {
  return new FreshetError('checkpoint-corrupt', 'a record of the item log is not what was written')
}
