import { type SearchWindow, searchWindow } from '../shard/search-load.ts'
import { type LoadAnswer, LoadClient } from './load-client.ts'

interface QueryOptions {
  readonly dims: number
  readonly k: number
  readonly fingerprint: string
}

/**
 * Bodies of searches by vector, no two alike, so that no cache answers them: each is one of the vectors given with two
 * components exchanged, which leaves its length as it is.
 */
export class QueryBodies {
  /** Vectors to choose from. */
  readonly count: number
  readonly #vectors: readonly VectorText[]
  readonly #options: QueryOptions

  constructor(vectors: Float32Array, options: QueryOptions) {
    const { dims } = options
    this.#options = options
    this.count = vectors.length / dims
    this.#vectors = Array.from({ length: this.count }, (_, i) => textOf(vectors.subarray(i * dims, (i + 1) * dims)))
  }

  /** Cheap: the load is on the same machine as what it is put on. */
  body(number: number): string {
    const { dims, k, fingerprint } = this.#options
    const { text, starts } = this.#vectors[number % this.count]!
    const round = Math.floor(number / this.count)
    const [a, b] = [round % dims, (round + 1 + Math.floor(round / dims)) % dims]
    const [first, second] = a < b ? [a, b] : [b, a]
    const part = (from: number, to: number): string => (from < to ? text.slice(starts[from], starts[to]! - 1) : '')
    const exchanged = [part(0, first), part(second, second + 1), part(first + 1, second), part(first, first + 1)]
    const vector =
      first === second ? text : [...exchanged, part(second + 1, dims)].filter(each => each !== '').join(',')
    return `{"vector":[${vector}],"fingerprint":"${fingerprint}","k":${k}}`
  }
}

/** The components, with commas between them, and where each begins; and one behind the end. */
interface VectorText {
  readonly text: string
  readonly starts: readonly number[]
}

function textOf(vector: Float32Array): VectorText {
  const components = Array.from(vector, String)
  const starts = [0]
  for (const component of components) starts.push(starts.at(-1)! + component.length + 1)
  return { text: components.join(','), starts }
}

const jsonType = 'Content-Type: application/json\r\n'

/** One search by vector, whatever the answer is. */
export function sendSearch(client: LoadClient, body: string, headers = ''): Promise<LoadAnswer> {
  return client.post('/v1/search', body, jsonType + headers)
}

/** Sends searches by vector to one server over kept connections. */
export class SearchClient {
  readonly #client: LoadClient
  readonly #queries: QueryBodies
  #next = 0
  #degraded = 0

  constructor(url: string, queries: QueryBodies) {
    this.#client = new LoadClient(url, { connections: 64 })
    this.#queries = queries
  }

  /** Answers so far that were not whole, or none: on a machine with much other work to do there are some. */
  get degraded(): number {
    return this.#degraded
  }

  /** The answer's bytes. @throws Error for one that no load explains */
  async search(number: number): Promise<Buffer> {
    const query = `X-Query: ${number % this.#queries.count}\r\n`
    const { status, body } = await sendSearch(this.#client, this.#queries.body(number), query)
    if (status !== 200 && status !== 503) throw new Error(`${status}: ${body.toString('utf8', 0, 300)}`)
    if (!body.includes('"degraded":[]')) this.#degraded++
    return body
  }

  /** Closed loop, see `searchWindow`. `onAnswer` hears of each search: when it began, ms since 1970, and how long it took. */
  window(
    ms: number,
    inFlight: number,
    onAnswer?: (search: { readonly beganAtMs: number; readonly tookMs: number }) => void,
  ): Promise<SearchWindow> {
    // The vectors are in the bodies.
    const queries = { vectors: new Float32Array(0), dims: 0, count: 1 }
    const search = async (): Promise<void> => {
      const beganAt = performance.now()
      await this.search(this.#next++)
      onAnswer?.({ beganAtMs: performance.timeOrigin + beganAt, tookMs: performance.now() - beganAt })
    }
    return searchWindow(search, queries, { ms, inFlight })
  }

  close(): void {
    this.#client.close()
  }
}
