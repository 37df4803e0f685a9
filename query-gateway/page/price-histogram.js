import { element } from './element.js'
import { counted, price } from './wording.js'

/**
 * @import { Facets } from '../../schemas/http-search.ts'
 * @typedef {NonNullable<Facets['price']>} Prices
 */

/** How the candidates' prices lie. A bar is a button that filters by its range. */
export class PriceHistogram {
  #place
  #onChosen

  /**
   * @param {HTMLElement} place
   * @param {(range: { readonly from: number, readonly to: number }) => void} onChosen
   */
  constructor(place, onChosen) {
    this.#place = place
    this.#onChosen = onChosen
  }

  /** @param {Facets['price']} prices */
  show(prices) {
    const buckets = prices?.buckets ?? []
    this.#place.hidden = buckets.length < 2
    if (prices === null) return
    const highest = Math.max(1, ...buckets.map(bucket => bucket.count))
    this.#place.replaceChildren(...buckets.map(bucket => this.#bar(bucket, highest, prices.currency)))
  }

  /**
   * @param {Prices['buckets'][number]} bucket
   * @param {number} highest
   * @param {string} currency
   */
  #bar({ from, to, count }, highest, currency) {
    const label = `${price(from, currency)} to ${price(to, currency)}: ${counted(count, 'product')}`
    const fill = element('span', { class: 'price-bar-fill' })
    fill.style.height = `${count === 0 ? 0 : Math.max(6, (count / highest) * 100)}%`
    const attributes = { type: 'button', title: label, 'aria-label': label, disabled: count === 0 }
    const choose = () => this.#onChosen({ from, to })
    return element('button', { class: 'price-bar', attributes, on: { click: choose } }, fill)
  }
}
