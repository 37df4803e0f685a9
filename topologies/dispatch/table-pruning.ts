import type { Partition } from '../../schemas/ids.ts'
import type { ItemTable } from './item-table.ts'

export interface TablePruningOptions {
  readonly table: Pick<ItemTable, 'discard'>
  readonly partitionCount: number
  /** A partition that comes back sooner goes on from what is stored. */
  readonly keepMs: number
  readonly nowMs: number
}

/**
 * Keeps the item table of a process that shares its group with others from growing to the whole catalogue: entries of
 * a partition that was not its own for long are forgotten. Should it come back, they are made again from the log.
 */
export class TablePruning {
  readonly #options: TablePruningOptions
  /** Since when a partition is another's; none of those whose entries are gone. */
  readonly #foreignSinceMs = new Map<Partition, number>()
  #owned: ReadonlySet<Partition> = new Set()
  #discarding: Promise<void> = Promise.resolve()

  /** What a former process left in the table counts from now. */
  constructor(options: TablePruningOptions) {
    this.#options = options
    for (let partition = 0; partition < options.partitionCount; partition++)
      this.#foreignSinceMs.set(partition as Partition, options.nowMs)
  }

  /** At each new assignment. */
  own(owned: ReadonlySet<Partition>, nowMs: number): void {
    for (const partition of this.#owned) if (!owned.has(partition)) this.#foreignSinceMs.set(partition, nowMs)
    for (const partition of owned) this.#foreignSinceMs.delete(partition)
    this.#owned = owned
  }

  /** Awaited before partitions are taken in: what is being forgotten of them must be gone. */
  async settled(): Promise<void> {
    await this.#discarding
  }

  /** Forgets what is due. One call after the other. @throws FreshetError storage codes */
  async prune(nowMs: number): Promise<void> {
    const due = [...this.#foreignSinceMs].filter(([, sinceMs]) => nowMs - sinceMs >= this.#options.keepMs)
    if (due.length === 0) return
    const discarded = this.#options.table.discard(new Set(due.map(([partition]) => partition)))
    this.#discarding = discarded.catch(() => undefined)
    await discarded
    // One that came back and went meanwhile is due anew.
    for (const [partition, sinceMs] of due)
      if (this.#foreignSinceMs.get(partition) === sinceMs) this.#foreignSinceMs.delete(partition)
  }
}
