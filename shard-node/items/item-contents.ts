import { ClockCache } from './clock-cache.ts'
import type { ItemLog } from './item-log.ts'
import { decodeContent } from './item-record.ts'
import type { Placed } from './item-table.ts'

/** What a decoded content takes, against its record. */
const decodedRatio = 4

/** Contents of the log, those that were not read lately left out of memory. */
export class ItemContents {
  readonly #log: Pick<ItemLog, 'read'>
  /** By place. */
  readonly #kept: ClockCache<unknown>

  constructor(log: Pick<ItemLog, 'read'>, limit: number) {
    this.#log = log
    this.#kept = new ClockCache(limit)
  }

  get memoryBytes(): number {
    return this.#kept.bytes * decodedRatio
  }

  /** @throws FreshetError `checkpoint-corrupt` when the record is not what was written; `storage-failed` */
  read<Content>({ at, bytes }: Placed): Content {
    const known = this.#kept.get(at)
    if (known !== undefined) return known as Content
    const content = decodeContent(this.#log.read(at, bytes))
    this.#kept.add(at, content, bytes)
    return content as Content
  }
}
