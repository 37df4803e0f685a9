import type { ItemId, Partition } from '../schemas/ids.ts'

interface Waiter {
  readonly itemId: ItemId
  wake(): void
}

/** Those who wait for an item to change or for the watermark of its partition to move. */
export class ItemWaiters {
  readonly #waiters = new Map<Partition, Set<Waiter>>()

  /** Resolves once woken; rejects with the signal's reason when it fires first. */
  wait(itemId: ItemId, partition: Partition, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const waiters = this.#waiters.get(partition) ?? new Set()
      this.#waiters.set(partition, waiters)
      const leave = (): void => {
        waiters.delete(waiter)
        signal.removeEventListener('abort', abort)
      }
      const abort = (): void => {
        leave()
        reject(signal.reason)
      }
      const wake = (): void => {
        leave()
        resolve()
      }
      const waiter = { itemId, wake }
      waiters.add(waiter)
      signal.addEventListener('abort', abort)
    })
  }

  /** Wakes all who wait for an item of the partition. */
  wakePartition(partition: Partition): void {
    for (const waiter of this.#waiters.get(partition) ?? []) waiter.wake()
  }

  /** Wakes those who wait for one of the items. */
  wakeItems(partition: Partition, changed: ReadonlySet<ItemId>): void {
    for (const waiter of this.#waiters.get(partition) ?? []) if (changed.has(waiter.itemId)) waiter.wake()
  }

  wakeAll(): void {
    for (const partition of this.#waiters.keys()) this.wakePartition(partition)
  }
}
