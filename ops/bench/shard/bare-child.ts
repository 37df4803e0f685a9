import { BareUsearch } from './bare-usearch.ts'
import { serveCalls } from './child-calls.ts'
import { ClusteredData } from './clustered-data.ts'
import { querySet, searchOfBare } from './scene.ts'
import { type QuerySet, searchWindow } from './search-load.ts'

export interface BareProcessOptions {
  readonly path: string
  readonly dims: number
  readonly expansionSearch: number
  readonly seed: number
  readonly queries: number
}

/** The bare library in a process of its own, called in a loop. */
class BareSearchProcess {
  #bare: BareUsearch | null = null
  #queries: QuerySet | null = null

  open({ path, dims, expansionSearch, seed, queries }: BareProcessOptions): void {
    this.#bare = new BareUsearch({ path, dims }, expansionSearch)
    this.#queries = querySet(new ClusteredData({ seed, dims }), queries)
  }

  /** Queries/s. */
  async qps(ms: number): Promise<number> {
    return (await searchWindow(searchOfBare(this.#bare!), this.#queries!, { ms, inFlight: 1 })).qps
  }
}

export type { BareSearchProcess }

serveCalls(new BareSearchProcess())
