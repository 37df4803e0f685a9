import { setImmediate as nextTurn } from 'node:timers/promises'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, type Partition, type TopicEpoch } from '../../schemas/ids.ts'
import { elementWords, setElement } from '../../schemas/partition-digest.ts'
import type { ItemLog } from './item-log.ts'
import { decodeRecord, type ReadRecord } from './item-record.ts'
import type { ItemTable, Placed } from './item-table.ts'
import type { PartitionDigests } from './partition-digest.ts'

/** About 3 ms. */
const itemsPerSlice = 2048

/**
 * Fills an empty table from a log that was verified. The newest record of a register wins; among equal versions the
 * last one, because that is where compaction put it.
 * @throws FreshetError `checkpoint-corrupt` when the records do not fit together
 */
export async function replay(log: ItemLog, table: ItemTable): Promise<void> {
  for (const number of log.numbers)
    for await (const records of log.walk(number))
      for (const record of records)
        replayRecord(table, decodeRecord(record), { at: record.place, bytes: record.to - record.from })
  requireContents(table)
  table.endReplay()
}

/** Digests of everything in the table, from nothing. */
export async function sumDigests(
  table: ItemTable,
  digests: ReadonlyMap<Partition, PartitionDigests>,
  epoch: TopicEpoch,
): Promise<void> {
  const { columns } = table
  for (let item = 0; item < table.limit; item++) {
    if (item % itemsPerSlice === itemsPerSlice - 1) await nextTurn()
    const sums = digests.get(asPartition(columns.partition[item]!))
    if (sums === undefined || !columns.hasAttributes(item)) continue
    const idHash = columns.idHash[item]!
    sums.set.add(idHash, setElement(table.idOf(item), epoch, columns.attributesOffset[item]!))
    if (columns.hasObjects(item)) sums.objects.add(idHash, table.elementOf(item))
  }
}

function replayRecord(table: ItemTable, record: ReadRecord, placed: Placed): void {
  const { item, offset, value, flag, words } = record
  if (record.type === 'forgotten') {
    if (table.columns.isUsed(item)) table.release(occupy(table, record))
    return
  }
  const held = table.registersOf(occupy(table, record))
  switch (record.type) {
    case 'attributes':
      if (offset >= held.attributesOffset)
        table.writeAttributes(item, { ...placed, offset, available: flag, price: value, tokens: words })
      break
    case 'objects':
      if (offset >= held.objectsOffset) replayObjects(table, record, placed)
      break
    case 'removal':
      if (offset >= held.removalOffset) table.writeRemoval(item, { offset, removedAtMs: value, at: placed.at })
      break
    case 'failure': {
      const report = offset > held.removalOffset ? { retryable: flag, attempts: value } : null
      if (offset >= held.failureOffset) table.writeFailure(item, { ...placed, offset, report })
      break
    }
  }
}

function replayObjects(table: ItemTable, record: ReadRecord, placed: Placed): void {
  const { item, offset, value, objectCount, words } = record
  if (record.hasContent && words.length < elementWords) throw misfit(record)
  const element = words.slice(0, elementWords)
  const imageTokens = words.slice(elementWords)
  table.writeObjects(item, { ...placed, offset, firstRow: value, objectCount, element, imageTokens })
}

/** The record's item, which has that number and no other, and the number no other item. */
function occupy(table: ItemTable, record: ReadRecord): number {
  const { item, itemId, partition } = record
  const known = table.find(itemId)
  if (known.item === item) return item
  if (known.item !== -1 || table.columns.isUsed(item)) throw misfit(record)
  table.claimNumber(item, { itemId, partition, hash: known.hash })
  return item
}

/** Compaction leaves out contents that do not count; whatever counts must have one. */
function requireContents(table: ItemTable): void {
  const { columns } = table
  for (let item = 0; item < table.limit; item++) {
    const lacksAttributes = columns.hasAttributes(item) && columns.attributeTokens[item] === 0
    const lacksObjects = columns.hasObjects(item) && columns.objectCount[item] === 0
    if (lacksAttributes || lacksObjects)
      throw new FreshetError('checkpoint-corrupt', `the item log lacks a content of item ${table.idOf(item)}`)
  }
}

function misfit({ item, type }: ReadRecord): FreshetError {
  return new FreshetError('checkpoint-corrupt', `a record of ${type} of item ${item} does not fit those before it`)
}
