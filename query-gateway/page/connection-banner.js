import { element, pageElement } from './element.js'
import { counted } from './wording.js'

/**
 * @import { Status } from '../../schemas/http-operations.ts'
 * @import { ApiError } from './request.js'
 * @typedef {'well' | 'away' | 'draining' | 'key' | 'refused' | 'partly' | 'starting'} Condition
 */

/**
 * Says in a line under the bar what is wrong with the server or the index, as long as it is: away, draining, asking for
 * a key, or with parts that are not ready. Nothing while all is well.
 */
export class ConnectionBanner {
  #place = pageElement('connection', HTMLElement)
  #onKeyWanted
  #shown = ''

  /** @param {() => void} onKeyWanted */
  constructor(onKeyWanted) {
    this.#onKeyWanted = onKeyWanted
  }

  /** @param {Status} status */
  news({ ready, shards, items }) {
    const parts = shards.map(({ replicas }) => replicas.some(({ state }) => state === 'ready'))
    const there = parts.filter(Boolean).length
    if (there < parts.length && there > 0) {
      const missing = parts.length - there
      this.#show('partly', `${counted(missing, 'shard')} of ${parts.length} not ready: answers may miss some products.`)
    } else if (!ready && items.searchable > 0)
      this.#show('starting', 'The index is catching up: answers may miss the newest changes.')
    else if (!ready) this.#show('starting', 'The index is starting. Searches work in a moment.')
    else this.#show('well', '')
  }

  /**
   * @param {ApiError} why nothing is heard
   * @returns {string} the same in two words
   */
  lost({ code }) {
    switch (code) {
      case 'unauthenticated':
        this.#show('key', 'This server asks for a key.')
        return 'Key needed'
      case 'forbidden':
        this.#show('refused', 'This key may not read the state of the index.')
        return 'Not allowed'
      case 'not-ready':
        this.#show('draining', 'The server is stopping or starting. This page goes on when it is back.')
        return 'Not ready'
      case 'overloaded':
      case 'rate-limited':
        this.#show('partly', 'The server is busy: figures come late.')
        return 'Busy'
      default:
        this.#show(
          'away',
          'The server does not answer. What you see may be out of date; the page reconnects by itself.',
        )
        return 'Not connected'
    }
  }

  /**
   * @param {Condition} condition
   * @param {string} text
   */
  #show(condition, text) {
    // the same again would be read out again
    if (this.#shown === text) return
    this.#shown = text
    this.#place.dataset.condition = condition
    const enter = element('button', {
      class: 'link',
      text: 'Enter a key',
      attributes: { type: 'button' },
      on: { click: this.#onKeyWanted },
    })
    this.#place.replaceChildren(...(text === '' ? [] : [text]), ...(condition === 'key' ? [' ', enter] : []))
  }
}
