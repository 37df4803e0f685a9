import { liveEvents, status } from './api.js'
import { ApiError } from './request.js'

/** @import { LiveEvent } from '../../schemas/http-operations.ts' */

const pollEveryMs = 1000
const pollOfflineEveryMs = 3000
/** The server sends once a second: a stream on which nothing comes for this long is dead, whatever the socket says. */
const silentMs = 6000
/** Polls between two attempts to get the stream back. */
const pollsPerStreamAttempt = 5

/**
 * News of the index: the event stream while it holds, else the status once a second.
 *
 * streaming → (stream breaks) → polling → (a few answers later) → streaming; `lost` is told why while neither answers.
 * A page that nobody sees asks nothing: a browser has few connections to one server, and many tabs would share them.
 */
export class LiveFeed {
  #listener
  /** Ends the pause between two questions. @type {() => void} */
  #wake = () => {}

  /** @param {{ news: (event: LiveEvent) => void, lost: (why: ApiError) => void }} listener */
  constructor(listener) {
    this.#listener = listener
  }

  /** Goes on for as long as the page is open. */
  async run() {
    for (;;) {
      await untilVisible()
      await this.#stream()
      if (!document.hidden) await this.#poll()
    }
  }

  /** Asks at once instead of after the pause. */
  askNow() {
    this.#wake()
  }

  /** Until it breaks or ends, which the polling afterwards finds the reason of. */
  async #stream() {
    const silence = new AbortController()
    const stopUnseen = () => {
      if (document.hidden) silence.abort()
    }
    document.addEventListener('visibilitychange', stopUnseen)
    let timer = setTimeout(() => silence.abort(), silentMs)
    try {
      for await (const news of liveEvents(silence.signal)) {
        clearTimeout(timer)
        timer = setTimeout(() => silence.abort(), silentMs)
        this.#listener.news(news)
      }
    } catch (error) {
      if (!(error instanceof ApiError || silence.signal.aborted)) throw error
    } finally {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', stopUnseen)
    }
  }

  /** Until it is time to try the stream again. */
  async #poll() {
    for (let answers = 1; answers <= pollsPerStreamAttempt && !document.hidden; answers++) {
      try {
        this.#listener.news({ status: await status(), recent: [] })
        await this.#pause(pollEveryMs)
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
        this.#listener.lost(error)
        await this.#pause(pollOfflineEveryMs)
        // the next answer is soon enough for the stream
        answers = pollsPerStreamAttempt - 1
      }
    }
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve(undefined)
      }
    })
  }
}

async function untilVisible() {
  while (document.hidden)
    await new Promise(resolve => document.addEventListener('visibilitychange', resolve, { once: true }))
}
