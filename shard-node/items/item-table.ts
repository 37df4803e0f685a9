import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, type ItemId, type Partition } from '../../schemas/ids.ts'
import { type DigestElement, elementWords } from '../../schemas/partition-digest.ts'
import { maxItems } from './growable.ts'
import { IdIndex } from './id-index.ts'
import { ItemColumns, itemFlags } from './item-columns.ts'
import { bareBytes } from './item-record.ts'
import type { ItemRow } from './item-store.ts'
import {
  type FailureReport,
  hasAttributes,
  hasFailure,
  hasObjects,
  type ItemStanding,
  type Registers,
  standingOf,
} from './registers.ts'
import { WordSlab } from './word-slab.ts'

/** A record of the log that now is the newest of its register. */
export interface Placed {
  readonly at: number
  readonly bytes: number
}

interface AttributesWrite extends Placed {
  readonly offset: number
  readonly available: boolean
  /** NaN: none. */
  readonly price: number
  readonly tokens: ArrayLike<number>
}

interface ObjectsWrite extends Placed {
  readonly offset: number
  readonly firstRow: number
  readonly objectCount: number
  readonly element: DigestElement
  readonly imageTokens: ArrayLike<number>
}

interface FailureRegister extends Placed {
  readonly offset: number
  readonly report: FailureReport | null
}

const failureMemoryBytes = 160

/**
 * Every item the shard knows, deleted ones included until they are forgotten: registers, filter columns, and where
 * the contents lie in the log. It writes what it is told to; which write wins is decided before.
 */
export class ItemTable {
  readonly columns = new ItemColumns()
  readonly tokens = new WordSlab()
  readonly #ids = new IdIndex(this.columns.idHash)
  readonly #failures = new Map<number, FailureRegister>()
  readonly #counts: Record<ItemStanding, number> = { searchable: 0, pending: 0, failed: 0, deleted: 0, unknown: 0 }
  /** Numbers of forgotten items, and of those forgotten last, which searches on their way may still name. */
  #free: number[] = []
  #resting: number[] = []
  #limit = 0
  #liveBytes = 0
  #currentRows = 0

  get limit(): number {
    return this.#limit
  }

  get counts(): Readonly<Record<ItemStanding, number>> {
    return this.#counts
  }

  /** Bytes of log records that are the newest of their register; of those that do not count, without content. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  /** Rows of all sets that count. */
  get currentRows(): number {
    return this.#currentRows
  }

  get memoryBytes(): number {
    const lists = (this.#free.length + this.#resting.length) * 8 + this.#failures.size * failureMemoryBytes
    return this.columns.memoryBytes + this.tokens.memoryBytes + this.#ids.memoryBytes + lists
  }

  /** The item's number, -1 when unknown, and murmur2 of its id. */
  find(itemId: ItemId): { readonly item: number; readonly hash: number } {
    return this.#ids.find(itemId)
  }

  idOf(item: number): ItemId {
    return this.#ids.idOf(item)
  }

  /** Gives an unknown item a number. @throws FreshetError `storage-full` when no number or no memory is left */
  claim(itemId: ItemId, hash: number, partition: Partition): number {
    const item = this.#free.pop() ?? this.#limit
    this.claimNumber(item, { itemId, hash, partition })
    return item
  }

  /** Gives an unknown item a number that is free; `endReplay` must follow when it was not the next one. */
  claimNumber(
    item: number,
    { itemId, hash, partition }: { readonly itemId: ItemId; readonly hash: number; readonly partition: Partition },
  ): void {
    if (item >= maxItems) throw new FreshetError('storage-full', `a shard holds at most ${maxItems} items`)
    if (this.columns.extend(item + 1)) this.#ids.extend(this.columns.room)
    this.#limit = Math.max(this.#limit, item + 1)
    this.columns.clear(item)
    this.columns.flags[item] = itemFlags.used
    this.columns.partition[item] = partition
    this.columns.idHash[item] = hash
    this.#ids.insert(item, itemId)
    this.#counts.unknown++
  }

  /** Numbers that no item has are free. */
  endReplay(): void {
    for (let item = this.#limit - 1; item >= 0; item--) if (!this.columns.isUsed(item)) this.#free.push(item)
  }

  /** Forgets the item; its number serves again after the next `restNumbers`. */
  release(item: number): void {
    this.#counts[standingOf(this.registersOf(item))]--
    this.#dropAttributes(item)
    this.#dropObjects(item)
    this.#liveBytes -= this.#bytesOf(item)
    this.#failures.delete(item)
    this.#ids.delete(item)
    this.columns.clear(item)
    this.#resting.push(item)
  }

  restNumbers(): void {
    this.#free.push(...this.#resting)
    this.#resting = []
  }

  registersOf(item: number): Registers {
    const { columns } = this
    const failure = this.#failures.get(item)
    return {
      attributesOffset: columns.attributesOffset[item]!,
      objectsOffset: columns.objectsOffset[item]!,
      removalOffset: columns.removalOffset[item]!,
      failureOffset: failure?.offset ?? -1,
      removedAtMs: columns.removedAtMs[item]!,
      failureReport: failure?.report ?? null,
    }
  }

  rowOf(item: number): ItemRow {
    const { columns } = this
    const registers = this.registersOf(item)
    return {
      item,
      partition: asPartition(columns.partition[item]!),
      idHash: columns.idHash[item]!,
      attributesOffset: registers.attributesOffset,
      objectsOffset: registers.objectsOffset,
      removalOffset: registers.removalOffset,
      failureOffset: registers.failureOffset,
      removedAtMs: registers.removedAtMs,
      hasAttributes: hasAttributes(registers),
      hasObjects: hasObjects(registers),
      hasFailure: hasFailure(registers),
      standing: standingOf(registers),
      firstRow: columns.firstRow[item]!,
      objectCount: columns.objectCount[item]!,
    }
  }

  failureOf(item: number): FailureRegister | null {
    return this.#failures.get(item) ?? null
  }

  elementOf(item: number): DigestElement {
    const { objectsElement } = this.columns
    const at = item * elementWords
    return [objectsElement[at]!, objectsElement[at + 1]!, objectsElement[at + 2]!, objectsElement[at + 3]!]
  }

  writeAttributes(item: number, write: AttributesWrite): void {
    this.#counting(item, () => {
      const { columns } = this
      this.#dropAttributes(item)
      columns.attributesOffset[item] = write.offset
      columns.attributesAt[item] = write.at
      this.#liveBytes += write.bytes - columns.attributesBytes[item]!
      columns.attributesBytes[item] = write.bytes
      if (!columns.hasAttributes(item)) return
      columns.price[item] = write.price
      if (write.available) columns.flags[item]! |= itemFlags.available
      columns.attributeTokensAt[item] = this.tokens.store(write.tokens)
      columns.attributeTokens[item] = write.tokens.length
    })
  }

  writeObjects(item: number, write: ObjectsWrite): void {
    this.#counting(item, () => {
      const { columns } = this
      this.#dropObjects(item)
      columns.objectsOffset[item] = write.offset
      columns.objectsAt[item] = write.at
      this.#liveBytes += write.bytes - columns.objectsBytes[item]!
      columns.objectsBytes[item] = write.bytes
      if (!columns.hasObjects(item)) return
      columns.firstRow[item] = write.firstRow
      columns.objectCount[item] = write.objectCount
      this.#currentRows += write.objectCount
      columns.objectsElement.set(write.element, item * elementWords)
      columns.imageTokensAt[item] = this.tokens.store(write.imageTokens)
      columns.imageTokens[item] = write.imageTokens.length
    })
  }

  writeRemoval(
    item: number,
    write: { readonly offset: number; readonly removedAtMs: number; readonly at: number },
  ): void {
    this.#counting(item, () => {
      const { columns } = this
      if (columns.removalAt[item] === -1) this.#liveBytes += this.#bareBytes(item)
      columns.removalOffset[item] = write.offset
      columns.removedAtMs[item] = write.removedAtMs
      columns.removalAt[item] = write.at
      if (!columns.hasAttributes(item)) this.#dropAttributes(item)
      if (!columns.hasObjects(item)) this.#dropObjects(item)
      const failure = this.#failures.get(item)
      if (failure !== undefined && failure.offset <= write.offset) this.#dropFailure(item, failure)
    })
  }

  writeFailure(item: number, write: FailureRegister): void {
    this.#counting(item, () => {
      this.#liveBytes += write.bytes - (this.#failures.get(item)?.bytes ?? 0)
      this.#failures.set(item, write)
    })
  }

  /** Which of these tokens any item has. */
  foundTokens(asked: ReadonlySet<number>): ReadonlySet<number> {
    const { words, end } = this.tokens
    const found = new Set<number>()
    for (let at = 0; at < end; at++) if (asked.has(words[at]!)) found.add(words[at]!)
    return found
  }

  #counting(item: number, write: () => void): void {
    this.#counts[standingOf(this.registersOf(item))]--
    write()
    this.#counts[standingOf(this.registersOf(item))]++
  }

  /** What is kept of attributes that do not count, or no longer. */
  #dropAttributes(item: number): void {
    const { columns } = this
    this.tokens.free(columns.attributeTokensAt[item]!, columns.attributeTokens[item]!)
    columns.attributeTokensAt[item] = 0
    columns.attributeTokens[item] = 0
    columns.price[item] = Number.NaN
    columns.flags[item] = itemFlags.used
    if (columns.attributesAt[item] === -1) return
    this.#liveBytes += this.#bareBytes(item) - columns.attributesBytes[item]!
    columns.attributesBytes[item] = this.#bareBytes(item)
  }

  #dropObjects(item: number): void {
    const { columns } = this
    this.tokens.free(columns.imageTokensAt[item]!, columns.imageTokens[item]!)
    columns.imageTokensAt[item] = 0
    columns.imageTokens[item] = 0
    this.#currentRows -= columns.objectCount[item]!
    columns.firstRow[item] = 0
    columns.objectCount[item] = 0
    if (columns.objectsAt[item] === -1) return
    this.#liveBytes += this.#bareBytes(item) - columns.objectsBytes[item]!
    columns.objectsBytes[item] = this.#bareBytes(item)
  }

  #dropFailure(item: number, failure: FailureRegister): void {
    const bytes = this.#bareBytes(item)
    this.#liveBytes += bytes - failure.bytes
    this.#failures.set(item, { ...failure, bytes, report: null })
  }

  #bytesOf(item: number): number {
    const { columns } = this
    const removal = columns.removalAt[item] === -1 ? 0 : this.#bareBytes(item)
    const failure = this.#failures.get(item)?.bytes ?? 0
    return columns.attributesBytes[item]! + columns.objectsBytes[item]! + removal + failure
  }

  #bareBytes(item: number): number {
    return bareBytes(this.#ids.bytesOf(item))
  }
}
