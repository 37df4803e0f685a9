import { extend, float64Column, sharedUint32Column, uint8Column, uint16Column, uint32Column } from './growable.ts'

/** Items are given memory in steps of this many. */
const itemsPerStep = 4096

export const itemFlags = { used: 1, available: 2 } as const

/** What is in memory of every item, by item number. */
export class ItemColumns {
  readonly flags = uint8Column()
  readonly partition = uint16Column()
  /** murmur2 of the id. */
  readonly idHash = sharedUint32Column()
  /** Versions of the registers; -1: never written. That of the failure is sparse, in `ItemTable`. */
  readonly attributesOffset = float64Column()
  readonly objectsOffset = float64Column()
  readonly removalOffset = float64Column()
  readonly removedAtMs = float64Column()
  /** Where the newest records of the registers lie in the item log; -1: none. */
  readonly attributesAt = float64Column()
  readonly objectsAt = float64Column()
  readonly removalAt = float64Column()
  /** Bytes these records take, or would take now that their content does not count. */
  readonly attributesBytes = uint32Column()
  readonly objectsBytes = uint32Column()
  readonly firstRow = float64Column()
  readonly objectCount = uint8Column()
  /** Four words an item: element of the objects digest. */
  readonly objectsElement = uint32Column(2 ** 28)
  /** NaN: none. */
  readonly price = float64Column()
  /** Tokens of the attributes and of the images, as lists in a `WordSlab`. */
  readonly attributeTokensAt = uint32Column()
  readonly attributeTokens = uint32Column()
  readonly imageTokensAt = uint32Column()
  readonly imageTokens = uint32Column()
  #room = 0

  get memoryBytes(): number {
    return this.#all().reduce((bytes, column) => bytes + column.byteLength, this.objectsElement.byteLength)
  }

  /** Makes room for items below `limit`; returns whether it had to. */
  extend(limit: number): boolean {
    if (limit <= this.#room) return false
    const room = Math.ceil(limit / itemsPerStep) * itemsPerStep
    for (const column of this.#all()) extend(column, room)
    extend(this.objectsElement, room * 4)
    this.#room = room
    return true
  }

  /** Items below this have their place in every column. */
  get room(): number {
    return this.#room
  }

  /** As if no register had ever been written; lists of tokens are the caller's to free. */
  clear(item: number): void {
    this.flags[item] = 0
    for (const column of [this.attributesOffset, this.objectsOffset, this.removalOffset]) column[item] = -1
    for (const column of [this.attributesAt, this.objectsAt, this.removalAt]) column[item] = -1
    this.removedAtMs[item] = 0
    this.firstRow[item] = 0
    this.objectCount[item] = 0
    this.attributesBytes[item] = 0
    this.objectsBytes[item] = 0
    this.price[item] = Number.NaN
  }

  isUsed(item: number): boolean {
    return (this.flags[item]! & itemFlags.used) !== 0
  }

  isAvailable(item: number): boolean {
    return (this.flags[item]! & itemFlags.available) !== 0
  }

  hasAttributes(item: number): boolean {
    return this.attributesOffset[item]! > this.removalOffset[item]!
  }

  hasObjects(item: number): boolean {
    return this.objectsOffset[item]! > this.removalOffset[item]!
  }

  #all() {
    return [
      this.flags,
      this.partition,
      this.idHash,
      this.attributesOffset,
      this.objectsOffset,
      this.removalOffset,
      this.removedAtMs,
      this.attributesAt,
      this.objectsAt,
      this.removalAt,
      this.attributesBytes,
      this.objectsBytes,
      this.firstRow,
      this.objectCount,
      this.price,
      this.attributeTokensAt,
      this.attributeTokens,
      this.imageTokensAt,
      this.imageTokens,
    ]
  }
}
