import type { ItemId, Partition } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import type { AllowedBits } from '../vector-index.ts'
import type { ItemAnswer } from './item-answers.ts'
import type { AttributesContent, FailureContent, ItemStanding, ObjectsContent } from './registers.ts'

/** The registers of an item without their contents: what is in memory. Offsets are -1 when never written. */
export interface ItemRow {
  readonly item: number
  readonly partition: Partition
  /** murmur2 of the id as u32. */
  readonly idHash: number
  readonly attributesOffset: number
  readonly objectsOffset: number
  readonly removalOffset: number
  readonly failureOffset: number
  readonly removedAtMs: number
  /** Contents that count: present and not beaten by the removal. */
  readonly hasAttributes: boolean
  readonly hasObjects: boolean
  readonly hasFailure: boolean
  readonly standing: ItemStanding
  /** Ordinal of the first row of the current set and how many; meaningful when `hasObjects`. */
  readonly firstRow: number
  readonly objectCount: number
}

/** What a mutation made of an item; the store itself is already as `after` says. */
export interface ItemChange {
  readonly item: number
  readonly before: ItemRow
  readonly after: ItemRow
}

/** The vectors' side of a change: called before the change is logged, because the log names the rows. */
export interface RowsOfItems {
  put(item: number, set: { readonly vectors: Uint8Array; readonly visible: boolean }): number
  setVisible(item: number, visible: boolean): void
  remove(item: number): void
}

/**
 * Items as they were searched: while it lasts, the objects that are replaced are remembered. Attributes are always the
 * newest.
 */
export interface ItemView {
  /**
   * With the objects that were current when the view began. Null when these do not count any more, removed or never
   * there, or the item has no attributes.
   */
  answerOf(item: number): ItemAnswer | null
  /** The item can be found, but not by the objects that were current when the view began: those do not count any more. */
  hasReturned(item: number): boolean
  end(): void
}

/** Every item the shard knows: registers and filter columns in memory, contents in a log on disk. */
export interface ItemStore {
  /** Tie keys (`idHash`) by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
  readonly counts: Readonly<Record<ItemStanding, number>>
  /** Item numbers lie below. */
  readonly limit: number
  readonly memoryBytes: number
  readonly diskBytes: number
  find(itemId: ItemId): ItemRow | null
  /** @throws FreshetError `internal` for a number that no item has */
  at(item: number): ItemRow
  idOf(item: number): ItemId
  /** Folds a mutation that was accepted. Null when it changes nothing: beaten, or known. */
  apply(
    mutation: RegisterMutation,
    at: { readonly partition: Partition; readonly appendTimeMs: number },
    rows: RowsOfItems,
  ): ItemChange | null
  attributesOf(item: number): AttributesContent | null
  objectsOf(item: number): ObjectsContent | null
  failureOf(item: number): FailureContent | null
  /** Kept up to date for the filters used last; a new one is evaluated in slices between other work. */
  allowed(filter: SearchFilter): Promise<AllowedBits>
  /** The filter itself, of the content: bits may say yes to an item in a billion that does not pass. */
  passes(item: number, filter: SearchFilter): boolean
}
