import type { ItemId } from '../schemas/ids.ts'
import type { ItemRegisters } from '../schemas/shard-api.ts'
import type { Offsets } from './items/registers.ts'

type Times = ItemRegisters['times']

const keptMs = 3_600_000
const keptItems = 200_000
const none: Times = { attributesMs: null, objectsMs: null, removalMs: null, failureMs: null }

/** When each register of an item was last applied: for the last hour and the most recent items, else null. */
export class RecentTimes {
  /** By item, the least recently written first. */
  readonly #times = new Map<ItemId, { readonly times: Times; readonly atMs: number }>()

  note(itemId: ItemId, change: { readonly before: Offsets; readonly after: Offsets }, nowMs: number): void {
    const held = this.#times.get(itemId)?.times ?? none
    const { before, after } = change
    const times = {
      attributesMs: after.attributesOffset === before.attributesOffset ? held.attributesMs : nowMs,
      objectsMs: after.objectsOffset === before.objectsOffset ? held.objectsMs : nowMs,
      removalMs: after.removalOffset === before.removalOffset ? held.removalMs : nowMs,
      failureMs: after.failureOffset === before.failureOffset ? held.failureMs : nowMs,
    }
    this.#times.delete(itemId)
    this.#times.set(itemId, { times, atMs: nowMs })
    this.#expire(nowMs)
  }

  of(itemId: ItemId, nowMs: number): Times {
    const { times } = this.#times.get(itemId) ?? { times: none }
    const recent = (ms: number | null): number | null => (ms !== null && nowMs - ms <= keptMs ? ms : null)
    return {
      attributesMs: recent(times.attributesMs),
      objectsMs: recent(times.objectsMs),
      removalMs: recent(times.removalMs),
      failureMs: recent(times.failureMs),
    }
  }

  #expire(nowMs: number): void {
    for (const [itemId, { atMs }] of this.#times) {
      if (nowMs - atMs <= keptMs && this.#times.size <= keptItems) return
      this.#times.delete(itemId)
    }
  }
}
