import { element } from './element.js'
import { productPicture } from './picture.js'

/**
 * @import { LiveEvent } from '../../schemas/http-operations.ts'
 * @typedef {LiveEvent['recent'][number]} Arrival
 */

const shown = 24

/** The products that became searchable last, newest first. */
export class Arrivals {
  #list
  #onChosen
  /** @type {readonly Arrival[]} */
  #arrivals = []

  /**
   * @param {HTMLElement} list
   * @param {(arrival: Arrival) => void} onChosen
   */
  constructor(list, onChosen) {
    this.#list = list
    this.#onChosen = onChosen
  }

  get isEmpty() {
    return this.#arrivals.length === 0
  }

  /** @param {readonly Arrival[]} recent newest first */
  add(recent) {
    // what a person is about to choose must not move away
    if (this.#list.matches(':hover, :focus-within')) return
    const known = new Map(this.#arrivals.map(arrival => [arrival.itemId, arrival]))
    const news = recent.filter(arrival => known.get(arrival.itemId)?.atMs !== arrival.atMs)
    if (news.length === 0) return
    const renewed = new Set(news.map(arrival => arrival.itemId))
    this.#arrivals = [...news, ...this.#arrivals.filter(arrival => !renewed.has(arrival.itemId))].slice(0, shown)
    this.#render()
  }

  /** Tiles that stay are kept, so that only newcomers are loaded and animated. */
  #render() {
    const tiles = new Map([...this.#list.children].map(tile => [tile.getAttribute('data-arrival'), tile]))
    this.#list.replaceChildren(...this.#arrivals.map(arrival => tiles.get(arrivalKey(arrival)) ?? this.#tile(arrival)))
  }

  /** @param {Arrival} arrival */
  #tile(arrival) {
    const button = element(
      'button',
      {
        class: 'arrival',
        attributes: {
          type: 'button',
          title: arrival.title,
          'aria-label': `More like ${arrival.title || arrival.itemId}`,
        },
        on: { click: () => this.#onChosen(arrival) },
      },
      productPicture(arrival.itemId, arrival.blob),
    )
    return element('li', { attributes: { 'data-arrival': arrivalKey(arrival) } }, button)
  }
}

/** @param {Arrival} arrival */
function arrivalKey(arrival) {
  return `${arrival.atMs} ${arrival.itemId}`
}
