import type { Refusal } from '../schemas/accept-mutation.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Register } from '../schemas/mutation.ts'
import type { Offsets } from './items/registers.ts'

/** A record of the mutation log that was not applied. */
export interface RefusedRecord extends Refusal {
  readonly partition: number
  readonly itemId: string
  readonly register: Register
  /** Version it carries. */
  readonly offset: number
}

const kept = 10_000

/**
 * Records refused and not made good yet. The dispatcher refuses them too and has the work done again, so they do no
 * harm while the watermark is below them. One that the watermark has passed means that this replica lacks what it
 * vouches for.
 */
export class RefusedRecords {
  #records: RefusedRecord[] = []
  #total = 0

  /** Ever refused since the start. */
  get total(): number {
    return this.#total
  }

  get open(): readonly RefusedRecord[] {
    return this.#records
  }

  /** @throws FreshetError `mutation-invalid` when too many are open to keep track of */
  add(record: RefusedRecord): void {
    this.#total++
    if (this.#records.length === kept)
      throw new FreshetError('mutation-invalid', `more than ${kept} records were refused, the last: ${record.message}`)
    this.#records.push(record)
  }

  /** Drops the records that later writes made good, then finds one that the watermark has passed. */
  passed(
    watermark: (partition: number) => number,
    stateOf: (itemId: string) => Offsets | null | undefined,
  ): RefusedRecord | null {
    if (this.#records.length === 0) return null
    this.#records = this.#records.filter(record => !isMadeGood(record, stateOf(record.itemId)))
    return this.#records.find(record => record.offset <= watermark(record.partition)) ?? null
  }
}

/** What the record would have told is told by a register of its version or newer. */
function isMadeGood(record: RefusedRecord, state: Offsets | null | undefined): boolean {
  if (state === null || state === undefined) return false
  if (state.removalOffset >= record.offset) return true
  switch (record.register) {
    case 'a':
      return state.attributesOffset >= record.offset
    case 'x':
      return false
    case 'o':
    case 'f':
      return state.objectsOffset >= record.offset || state.failureOffset >= record.offset
  }
}
