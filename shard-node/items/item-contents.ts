import type { ItemLog } from './item-log.ts'
import { decodeContent } from './item-record.ts'
import type { Placed } from './item-table.ts'

/** What a decoded content takes, against its record. */
const decodedRatio = 4

/** Contents of the log, the least recently read ones left out of memory. */
export class ItemContents {
  readonly #log: ItemLog
  readonly #limit: number
  /** By place; the least recently used first. */
  readonly #kept = new Map<number, { readonly content: unknown; readonly bytes: number }>()
  #keptBytes = 0

  constructor(log: ItemLog, limit: number) {
    this.#log = log
    this.#limit = limit
  }

  get memoryBytes(): number {
    return this.#keptBytes * decodedRatio
  }

  /** @throws FreshetError `checkpoint-corrupt` when the record is not what was written; `storage-failed` */
  read<Content>({ at, bytes }: Placed): Content {
    const known = this.#kept.get(at)
    if (known !== undefined) {
      this.#kept.delete(at)
      this.#kept.set(at, known)
      return known.content as Content
    }
    const content = decodeContent(this.#log.read(at, bytes))
    this.#kept.set(at, { content, bytes })
    this.#keptBytes += bytes
    if (this.#kept.size > this.#limit) this.#evict()
    return content as Content
  }

  #evict(): void {
    for (const [at, { bytes }] of this.#kept) {
      this.#kept.delete(at)
      this.#keptBytes -= bytes
      return
    }
  }
}
