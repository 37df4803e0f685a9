import { item as itemOf } from './api.js'
import { element, icon } from './element.js'
import { dismissedCard, productCard } from './product-card.js'
import { ApiError } from './request.js'
import { count } from './wording.js'

/**
 * @import { SearchResult } from '../../schemas/http-search.ts'
 * @import { Action } from './engagement-report.js'
 * @import { Shown } from './product-card.js'
 * @import { Product } from './search-session.js'
 */

const skeletonCards = 12

/**
 * @typedef {object} GridListener
 * @property {(product: Product, position: number) => void} chosen more like it is wanted
 * @property {(action: Action, itemId: string, position: number) => void} engaged
 * @property {(product: Product) => boolean} saveToggled returns whether it is saved now
 * @property {(itemId: string) => boolean} isSaved
 * @property {(itemId: string) => boolean} isOwn published from this page
 */

/** The products found, as cards. */
export class ResultGrid {
  #list
  #listener
  /** What a person found not relevant to the search in view. @type {Set<string>} */
  #dismissed = new Set()

  /**
   * @param {HTMLUListElement} list
   * @param {GridListener} listener
   */
  constructor(list, listener) {
    this.#list = list
    this.#listener = listener
  }

  /** Results of the search before stay, dimmed, while the next ones are on their way. */
  showLoading() {
    this.#list.setAttribute('aria-busy', 'true')
    if (this.#list.childElementCount === 0)
      this.#list.replaceChildren(...Array.from({ length: skeletonCards }, skeleton))
  }

  /** The search under way was given up: what is there stands. */
  settle() {
    this.#list.removeAttribute('aria-busy')
  }

  clear() {
    this.settle()
    this.#list.replaceChildren()
  }

  /** Something else is searched now, to which other products are relevant. */
  forgetDismissed() {
    this.#dismissed.clear()
  }

  /** What is saved has changed elsewhere on the page. */
  showSaved() {
    for (const button of this.#list.querySelectorAll('.card-save'))
      button.setAttribute('aria-pressed', String(this.#listener.isSaved(button.getAttribute('data-item') ?? '')))
  }

  /** @param {readonly SearchResult[]} results best first */
  show(results) {
    this.settle()
    this.#list.replaceChildren(...results.map((result, position) => this.#place(result, position)))
  }

  /**
   * @param {SearchResult} result
   * @param {number} position
   */
  #place(result, position) {
    const { item, object, similarity, alike } = result
    const shown = { item, blob: item.blobs[object.image] ?? null, similarity }
    const place = element('li', { class: 'place' })
    this.#fill(place, shown, position)
    if (alike !== undefined) this.#addAlike(place, alike, position)
    return place
  }

  /**
   * @param {HTMLElement} place
   * @param {Shown} shown
   * @param {number} position
   */
  #fill(place, shown, position) {
    const gone = this.#dismissed.has(shown.item.itemId)
    const card = gone ? this.#goneCard(place, shown, position) : this.#card(place, shown, position)
    const [old] = place.children
    if (old === undefined) place.append(card)
    else old.replaceWith(card)
  }

  /**
   * @param {HTMLElement} place
   * @param {Shown} shown
   * @param {number} position
   */
  #card(place, shown, position) {
    const { itemId, title } = shown.item
    const product = { itemId, title, blob: shown.blob }
    return productCard(shown, {
      chosen: () => {
        this.#listener.engaged('click', itemId, position)
        this.#listener.chosen(product, position)
      },
      saveToggled: () => {
        const isSaved = this.#listener.saveToggled(product)
        if (isSaved) this.#listener.engaged('save', itemId, position)
        return isSaved
      },
      dismissed: () => {
        this.#dismissed.add(itemId)
        this.#listener.engaged('notRelevant', itemId, position)
        this.#fill(place, shown, position)
        place.querySelector('button')?.focus()
      },
      isSaved: this.#listener.isSaved(itemId),
      isOwn: this.#listener.isOwn(itemId),
    })
  }

  /**
   * @param {HTMLElement} place
   * @param {Shown} shown
   * @param {number} position
   */
  #goneCard(place, shown, position) {
    const { itemId, title } = shown.item
    return dismissedCard(title || itemId, () => {
      this.#dismissed.delete(itemId)
      this.#listener.engaged('relevant', itemId, position)
      this.#fill(place, shown, position)
      place.querySelector('button')?.focus()
    })
  }

  /**
   * A button for the products that are nearly the same and were left out for it.
   * @param {HTMLElement} place
   * @param {NonNullable<SearchResult['alike']>} alike
   * @param {number} position
   */
  #addAlike(place, { count: others, itemIds }, position) {
    const text = element('span', { text: `${count(others)} more like this` })
    const button = element(
      'button',
      { class: 'card-alike', attributes: { type: 'button', 'aria-expanded': 'false' } },
      icon('stack'),
      text,
    )
    /** @type {HTMLElement[]} */
    let opened = []
    button.addEventListener('click', async () => {
      if (opened.length > 0) {
        for (const one of opened) one.remove()
        opened = []
      } else {
        button.disabled = true
        opened = await this.#alikePlaces(itemIds, position)
        button.disabled = false
        place.after(...opened)
      }
      button.setAttribute('aria-expanded', String(opened.length > 0))
      place.classList.toggle('opened', opened.length > 0)
    })
    place.append(button)
  }

  /**
   * @param {readonly string[]} itemIds
   * @param {number} position
   */
  async #alikePlaces(itemIds, position) {
    const states = await Promise.all(itemIds.map(itemId => itemOf(itemId).catch(goneOrAway)))
    const places = states
      .filter(state => state !== null)
      .map(item => {
        const place = element('li', { class: 'place alike' })
        this.#fill(place, { item, blob: item.blobs[0] ?? null, similarity: null }, position)
        return place
      })
    if (places.length > 0) return places
    return [element('li', { class: 'place alike card-gone quiet', text: 'They are no longer in the index.' })]
  }
}

/** One that was deleted meanwhile, or cannot be asked for now, is not shown. @param {unknown} error */
function goneOrAway(error) {
  if (error instanceof ApiError) return null
  throw error
}

function skeleton() {
  const parts = ['skeleton skeleton-plate', 'skeleton skeleton-line', 'skeleton skeleton-line short']
  return element('li', { attributes: { 'aria-hidden': true } }, ...parts.map(part => element('div', { class: part })))
}
