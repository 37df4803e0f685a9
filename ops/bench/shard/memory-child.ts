import { mkdirSync } from 'node:fs'
import type { IndexStatistics } from '../../../shard-node/vector-index.ts'
import { BenchIndex, type BenchIndexOptions } from './bench-index.ts'
import { collectGarbage, serveCalls } from './child-calls.ts'
import type { Answers } from './recall.ts'
import { answersOf, querySet } from './scene.ts'

/** An index in a process of its own. */
class IndexProcess {
  index: BenchIndex | null = null

  /** Puts all rows, waits until nothing is left to merge, and saves. */
  async build(options: BenchIndexOptions, rows: number): Promise<void> {
    mkdirSync(options.directory, { recursive: true })
    const index = await BenchIndex.open(options)
    await index.fill(rows)
    await index.index.settled()
    await index.checkpoint()
    await index.close()
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

  statistics(): IndexStatistics {
    return this.index!.statistics()
  }

  diskBytes(): number {
    return this.index!.diskBytes()
  }
}

export type { IndexProcess }

serveCalls(new IndexProcess())
