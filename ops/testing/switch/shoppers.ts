import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { FreshetClient } from '../../../schemas/client.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import type { MovingCatalogue } from './moving-catalogue.ts'

export interface ShoppersOptions {
  readonly client: FreshetClient
  readonly catalogue: MovingCatalogue
  /** File URLs of pictures that items have. */
  readonly pictures: readonly string[]
  readonly count: number
  readonly pauseMs: number
  /** What is wrong with the similarities of an answer, which was asked with a picture's bytes; null: nothing. */
  readonly mixture: (answer: SearchAnswer, picture: Uint8Array) => string | null
}

export interface Answered {
  readonly shopper: number
  readonly generation: string
  readonly atMs: number
  readonly tookMs: number
}

/** People who search with a photo, each in a session of their own, one search after the other. Every answer is checked. */
export class Shoppers {
  readonly #options: ShoppersOptions
  readonly #pictures: readonly Uint8Array[]
  readonly #answered: Answered[] = []
  readonly #failures: string[] = []
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(options: ShoppersOptions) {
    this.#options = options
    this.#pictures = options.pictures.map(picture => readFileSync(fileURLToPath(picture)))
  }

  get answered(): readonly Answered[] {
    return this.#answered
  }

  /** Searches without an answer, and answers that were not as they must be, in words. */
  get failures(): readonly string[] {
    return this.#failures
  }

  start(): void {
    this.#isStopping = false
    this.#running = Promise.all(Array.from({ length: this.#options.count }, (_, shopper) => this.#shop(shopper)))
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  async #shop(shopper: number): Promise<void> {
    const { client, count, pauseMs } = this.#options
    for (let turn = 0; !this.#isStopping; turn++) {
      const picture = this.#pictures[(turn * count + shopper) % this.#pictures.length]!
      const atMs = performance.now()
      try {
        const answer = await client.searchImage(picture, { session: `shopper ${shopper}`, k: 50 }, { attempts: 1 })
        this.#answered.push({ shopper, generation: answer.generation, atMs, tookMs: performance.now() - atMs })
        this.#failures.push(...this.#problems(answer, picture, atMs))
      } catch (thrown) {
        this.#failures.push(`${new Date().toISOString()} a search failed: ${(thrown as Error).message}`)
      }
      await delay(pauseMs)
    }
  }

  #problems(answer: SearchAnswer, picture: Uint8Array, askedMs: number): readonly string[] {
    const { coverage, degraded, results, queryId } = answer
    const deleted = results.filter(({ itemId }) => this.#options.catalogue.isGone(itemId, askedMs))
    const mixture = this.#options.mixture(answer, picture)
    return [
      ...(coverage.answered === coverage.total ? [] : [`${coverage.answered} of ${coverage.total} shards answered`]),
      ...(degraded.length === 0 ? [] : [`degraded: ${degraded.join()}`]),
      ...(results.length > 0 ? [] : ['no results']),
      ...deleted.map(({ itemId }) => `the deleted ${itemId} was returned`),
      ...(mixture === null ? [] : [mixture]),
    ].map(problem => `${new Date().toISOString()} ${queryId} of ${answer.generation}: ${problem}`)
  }
}
