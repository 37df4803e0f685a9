import { mkdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { IndexStatistics } from '../../../shard-node/vector-index.ts'
import { BenchIndex, type BenchIndexOptions } from './bench-index.ts'
import { collectGarbage, serveCalls } from './child-calls.ts'
import { type Paced, paced } from './paced.ts'
import type { Answers } from './recall.ts'
import { answersOf, querySet } from './scene.ts'

/** An index in a process of its own. */
class IndexProcess {
  index: BenchIndex | null = null
  #mutations: Paced | null = null

  /** As `fill`, waits for what is merged because it has become calm, then saves and closes. */
  async build(options: BenchIndexOptions & { readonly calmMs: number }, rows: number): Promise<void> {
    const { calmMs, tuning } = options
    await this.fill({ ...options, tuning: { ...tuning, calmMs } }, rows)
    // The look at the end of the first period that began after the last change tells that it is calm.
    await delay(2 * calmMs + 500)
    await this.index!.index.settled()
    await this.index!.reclaim()
    await this.index!.close()
  }

  /** Puts all rows, waits until nothing is left to merge, and stays open. */
  async fill(options: BenchIndexOptions, rows: number): Promise<void> {
    mkdirSync(options.directory, { recursive: true })
    this.index = await BenchIndex.open(options)
    await this.index.fill(rows)
    await this.index.index.settled()
  }

  /** Opens what is in the folder, if anything, and answers so many queries. */
  async serve(options: BenchIndexOptions, queries: number): Promise<Answers> {
    mkdirSync(options.directory, { recursive: true })
    const index = await BenchIndex.open(options)
    this.index = index
    const answers = await answersOf(index, querySet(index.data, queries))
    collectGarbage()
    return answers
  }

  /** New items and replaced ones in turn, in the background, until `stopMutations`. */
  startMutations(perSecond: number): void {
    this.#mutations = paced(perSecond, () => this.index!.mutate())
  }

  stopMutations(): void {
    this.#mutations?.stop()
  }

  statistics(): IndexStatistics {
    return this.index!.statistics()
  }

  diskBytes(): number {
    return this.index!.diskBytes()
  }
}

export type { IndexProcess }

serveCalls(new IndexProcess())
