import { status } from './api.js'

/** @import { LiveEvent } from '../../schemas/http-operations.ts' */

const pollEveryMs = 1000
const pollOfflineEveryMs = 3000
const pollTimeoutMs = 5000
/** Polls between two attempts to get the stream back. */
const pollsPerStreamAttempt = 5

/**
 * News of the index: the event stream while it holds, else the status once a second.
 *
 * streaming → (stream breaks) → polling → (a few answers later) → streaming; `offline` is told while neither answers.
 */
export class LiveFeed {
  #listener

  /** @param {{ news: (event: LiveEvent) => void, offline: () => void }} listener */
  constructor(listener) {
    this.#listener = listener
  }

  start() {
    this.#stream()
  }

  #stream() {
    const source = new EventSource('/v1/events')
    source.addEventListener('status', event => this.#listener.news(JSON.parse(event.data)))
    source.addEventListener('error', () => {
      source.close()
      this.#poll(1)
    })
  }

  /** @param {number} answers of the status since the stream broke */
  async #poll(answers) {
    try {
      const news = await status(AbortSignal.timeout(pollTimeoutMs))
      this.#listener.news({ status: news, recent: [] })
      if (answers % pollsPerStreamAttempt === 0) return this.#stream()
      setTimeout(() => this.#poll(answers + 1), pollEveryMs)
    } catch {
      // why does not matter: a page that hears nothing says so, and asks again
      this.#listener.offline()
      setTimeout(() => this.#poll(pollsPerStreamAttempt), pollOfflineEveryMs)
    }
  }
}
