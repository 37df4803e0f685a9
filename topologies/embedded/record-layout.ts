import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../../schemas/ids.ts'
import type { LogRecord, NewRecord } from '../event-log.ts'

/*
 * Rows of the embedded log. Integers are big-endian, so that rows sort by number.
 *
 * records       key  topic id u16 · partition u16 · offset u48
 *               row  flags u8 (1 key, 2 value, 4 headers) · append time in ms u48 · key length u16 · key ·
 *                    [headers: count u16, each name length u16 · name · value length u16 · value] · value to the end
 * partitions    key  topic id u16 · partition u16
 *               row  end u48 · last append time u48 · cleaned u48 · start u48   (see `PartitionProgress`)
 * lastOffsets   key  topic id u16 · partition u16 · record key       row  offset u48
 * tombstones    key  as records                                      row  time of log compaction in ms u48
 * groupOffsets  key  topic id u16 · group in UTF-8 · 0 · partition u16   row  offset u48
 * topics        key  topic name in UTF-8                             row  JSON { id, spec, isDeleted? }
 *
 * The row of a deleted topic stays: so its id is never given again, whatever else of it is still lying about.
 */

/** Bound of record keys, so that key and prefix fit into LMDB's limit of 1,978 bytes. */
export const maxRecordKeyBytes = 1900
const flagKey = 1
const flagValue = 2
const flagHeaders = 4
const fixedBytes = 9
const noHeaders: Readonly<Record<string, string>> = Object.freeze({})
const noBytes = Buffer.alloc(0)

export function recordKey(topicId: number, partition: number, offset: number): Buffer {
  const key = Buffer.allocUnsafe(10)
  key.writeUInt32BE(((topicId << 16) | partition) >>> 0, 0)
  key.writeUIntBE(offset, 4, 6)
  return key
}

/** Of all keys that begin with the id of a topic. */
export function topicPrefix(topicId: number): Buffer {
  const prefix = Buffer.allocUnsafe(2)
  prefix.writeUInt16BE(topicId, 0)
  return prefix
}

export function offsetOfKey(key: Buffer): Offset {
  return asOffset(key.readUIntBE(4, 6))
}

export function partitionKey(topicId: number, partition: number): Buffer {
  const key = Buffer.allocUnsafe(4)
  key.writeUInt32BE(((topicId << 16) | partition) >>> 0, 0)
  return key
}

export function lastOffsetKey(topicId: number, partition: number, key: Uint8Array): Buffer {
  return Buffer.concat([partitionKey(topicId, partition), key])
}

/** Prefix of the group's rows for the topic; the partition follows. */
export function groupKeyPrefix(topicId: number, group: string): Buffer {
  const prefix = Buffer.from(`\0\0${group}\0`)
  prefix.writeUInt16BE(topicId, 0)
  return prefix
}

export function groupKey(topicId: number, group: string, partition: number): Buffer {
  const suffix = Buffer.allocUnsafe(2)
  suffix.writeUInt16BE(partition, 0)
  return Buffer.concat([groupKeyPrefix(topicId, group), suffix])
}

export function partitionOfGroupKey(key: Buffer): Partition {
  return asPartition(key.readUInt16BE(key.length - 2))
}

export function u48(...numbers: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(6 * numbers.length)
  numbers.forEach((number, index) => {
    bytes.writeUIntBE(number, 6 * index, 6)
  })
  return bytes
}

/**
 * Rows of an append call in one allocation, without their append times.
 * @throws FreshetError `record-too-large`
 */
export function encodeRecords(records: readonly NewRecord[], maxRecordBytes: number): readonly Buffer[] {
  const headers = records.map(record => encodeHeaders(record.headers))
  let total = 0
  const sizes = records.map((record, index) => {
    const bytes = fixedBytes + (record.key?.length ?? 0) + headers[index]!.length + (record.value?.length ?? 0)
    requireSize(record, bytes, maxRecordBytes)
    total += bytes
    return bytes
  })
  const slab = Buffer.allocUnsafe(total)
  let at = 0
  return records.map((record, index) => {
    const row = slab.subarray(at, at + sizes[index]!)
    at += sizes[index]!
    writeRow(row, record, headers[index]!)
    return row
  })
}

function writeRow(row: Buffer, { key, value }: NewRecord, headers: Buffer): void {
  row[0] = (key === null ? 0 : flagKey) | (value === null ? 0 : flagValue) | (headers.length === 0 ? 0 : flagHeaders)
  row.writeUInt16BE(key?.length ?? 0, 7)
  let at = fixedBytes
  for (const part of [key, headers, value]) {
    if (part === null) continue
    row.set(part, at)
    at += part.length
  }
}

function requireSize(record: NewRecord, bytes: number, maxRecordBytes: number): void {
  const keyBytes = record.key?.length ?? 0
  if (keyBytes > maxRecordKeyBytes)
    throw new FreshetError('record-too-large', `a record key has ${keyBytes} bytes, the limit is ${maxRecordKeyBytes}`)
  if (bytes > maxRecordBytes)
    throw new FreshetError('record-too-large', `a record has ${bytes} bytes, the limit is ${maxRecordBytes}`)
}

function encodeHeaders(headers: NewRecord['headers']): Buffer {
  const entries = headers === undefined ? [] : Object.entries(headers)
  if (entries.length === 0) return noBytes
  const parts: Buffer[] = [u16(entries.length)]
  for (const text of entries.flat()) {
    const bytes = Buffer.from(text)
    if (bytes.length > 0xffff)
      throw new FreshetError('record-too-large', `a record header has ${bytes.length} bytes, the limit is 65535`)
    parts.push(u16(bytes.length), bytes)
  }
  return Buffer.concat(parts)
}

function u16(number: number): Buffer {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeUInt16BE(number, 0)
  return bytes
}

export function setAppendTime(row: Buffer, appendTimeMs: number): void {
  row.writeUIntBE(appendTimeMs, 1, 6)
}

export function appendTimeOf(row: Buffer): number {
  return row.readUIntBE(1, 6)
}

export function keyOf(row: Buffer): Buffer | null {
  return row[0]! & flagKey ? row.subarray(fixedBytes, fixedBytes + row.readUInt16BE(7)) : null
}

export function hasValue(row: Buffer): boolean {
  return (row[0]! & flagValue) !== 0
}

/** The record, whose key and value share the row's memory. */
export function decodeRecord(topic: string, partition: Partition, offset: Offset, row: Buffer): LogRecord {
  const afterKey = fixedBytes + row.readUInt16BE(7)
  const headers = row[0]! & flagHeaders ? decodeHeaders(row, afterKey) : { headers: noHeaders, end: afterKey }
  return {
    topic,
    partition,
    offset,
    appendTimeMs: appendTimeOf(row),
    key: keyOf(row),
    value: hasValue(row) ? row.subarray(headers.end) : null,
    headers: headers.headers,
  }
}

function decodeHeaders(row: Buffer, start: number): { headers: Record<string, string>; end: number } {
  const entries: [string, string][] = []
  let at = start + 2
  const text = () => {
    const length = row.readUInt16BE(at)
    at += 2 + length
    return row.toString('utf8', at - length, at)
  }
  for (let left = row.readUInt16BE(start); left > 0; left--) entries.push([text(), text()])
  return { headers: Object.fromEntries(entries), end: at }
}
