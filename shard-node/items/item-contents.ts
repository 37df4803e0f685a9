import type { ItemLog } from './item-log.ts'
import { decodeContent } from './item-record.ts'
import type { Placed } from './item-table.ts'

/** What a decoded content takes, against its record. */
const decodedRatio = 4

interface Kept {
  readonly content: unknown
  readonly bytes: number
  /** Since the hand went over it. */
  wasRead: boolean
}

/**
 * Contents of the log, those that were not read lately left out of memory. By the clock algorithm, so that reading one
 * that is kept is one look and moves nothing: a search reads hundreds. For each content that comes in when all places are
 * taken, the hand goes on to the next one that was not read since it went there last, which goes.
 */
export class ItemContents {
  readonly #log: Pick<ItemLog, 'read'>
  readonly #limit: number
  /** By place. */
  readonly #kept = new Map<number, Kept>()
  #hand = this.#kept.entries()
  #keptBytes = 0

  constructor(log: Pick<ItemLog, 'read'>, limit: number) {
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
      known.wasRead = true
      return known.content as Content
    }
    const content = decodeContent(this.#log.read(at, bytes))
    if (this.#kept.size >= this.#limit) this.#evict()
    this.#kept.set(at, { content, bytes, wasRead: false })
    this.#keptBytes += bytes
    return content as Content
  }

  #evict(): void {
    for (;;) {
      const { value, done } = this.#hand.next()
      if (done === true) {
        this.#hand = this.#kept.entries()
        continue
      }
      const [at, kept] = value
      if (kept.wasRead) {
        kept.wasRead = false
        continue
      }
      this.#kept.delete(at)
      this.#keptBytes -= kept.bytes
      return
    }
  }
}
