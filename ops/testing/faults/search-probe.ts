import { setTimeout as delay } from 'node:timers/promises'
import { stubFingerprint, stubVector } from '../../stub-model.ts'
import type { FaultInstallation } from './fault-installation.ts'

const pauseMs = 150

/** Somebody who searches, one search after the other, whatever happens. */
export class SearchProbe {
  readonly #installation: FaultInstallation
  #isStopping = false
  #running: Promise<void> = Promise.resolve()
  #answered = 0
  readonly #failures: string[] = []

  constructor(installation: FaultInstallation) {
    this.#installation = installation
  }

  get answered(): number {
    return this.#answered
  }

  /** Of the searches that got no answer, in order. */
  get failures(): readonly string[] {
    return this.#failures
  }

  start(): void {
    this.#isStopping = false
    this.#running = this.#searchOn()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  async #searchOn(): Promise<void> {
    const { client, pictures } = this.#installation
    for (let number = 0; !this.#isStopping; number++) {
      const { digest } = pictures[number % pictures.length]!
      try {
        const answer = await client.search({ vector: [...stubVector(digest)], fingerprint: stubFingerprint, k: 10 })
        if (answer.coverage.answered === answer.coverage.total) this.#answered++
        else this.#failures.push(`a search had ${answer.coverage.answered} of ${answer.coverage.total} shards`)
      } catch (thrown) {
        this.#failures.push((thrown as Error).message)
      }
      await delay(pauseMs)
    }
  }
}
