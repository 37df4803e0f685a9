import type { RecentItem } from '../query-gateway/ports.ts'

const kept = 40
const windowSeconds = 10

/** The items that became searchable last, and how many do so a second. */
export class RecentItems {
  readonly #clock: () => number
  readonly #newestFirst: RecentItem[] = []
  /** Counts by whole second, of the last `windowSeconds`. */
  readonly #bySecond = new Map<number, number>()

  constructor(clock: () => number) {
    this.#clock = clock
  }

  add(items: readonly RecentItem[]): void {
    const second = Math.floor(this.#clock() / 1_000)
    this.#bySecond.set(second, (this.#bySecond.get(second) ?? 0) + items.length)
    for (const old of this.#bySecond.keys()) if (old <= second - windowSeconds) this.#bySecond.delete(old)
    this.#newestFirst.unshift(...items.slice(-kept).reverse())
    this.#newestFirst.length = Math.min(this.#newestFirst.length, kept)
  }

  list(): readonly RecentItem[] {
    return this.#newestFirst
  }

  /** Over the last ten seconds. */
  perSecond(): number {
    const now = Math.floor(this.#clock() / 1_000)
    let sum = 0
    for (const [second, count] of this.#bySecond) if (second > now - windowSeconds) sum += count
    return sum / windowSeconds
  }
}
