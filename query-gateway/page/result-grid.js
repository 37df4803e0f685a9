import { element, icon } from './element.js'
import { productPicture } from './product-picture.js'
import { price } from './wording.js'

/** @import { SearchResult } from '../../schemas/http-search.ts' */

const skeletonCards = 12
/** Unrelated products rarely fall below this; the bar shows what lies above it. */
const similarityFloor = 0.2

/** The products found, as cards. Choosing a card searches for more like it. */
export class ResultGrid {
  #list
  #onChosen

  /**
   * @param {HTMLUListElement} list
   * @param {(result: SearchResult, position: number) => void} onChosen
   */
  constructor(list, onChosen) {
    this.#list = list
    this.#onChosen = onChosen
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

  /** @param {readonly SearchResult[]} results best first */
  show(results) {
    this.settle()
    this.#list.replaceChildren(...results.map((result, position) => this.#card(result, position)))
  }

  /**
   * @param {SearchResult} result
   * @param {number} position
   */
  #card(result, position) {
    const { item } = result
    const button = element(
      'button',
      {
        class: 'card-more',
        attributes: { type: 'button', 'aria-label': `More like ${item.title}` },
        on: { click: () => this.#onChosen(result, position) },
      },
      icon('similar'),
      element('span', { text: 'More like this' }),
    )
    const details = element(
      'div',
      { class: 'card-text' },
      element('h2', { class: 'card-title', text: item.title || item.itemId }),
      element('p', { class: 'card-price', text: price(item.price, item.currency) || 'No price' }),
      element('p', { class: 'card-category', text: item.category }),
      similarityBar(result.similarity),
    )
    const card = element(
      'article',
      { class: 'card' },
      productPicture(item.itemId, item.blobs[result.object.image] ?? null),
      notes(item),
      details,
      button,
    )
    card.classList.toggle('unavailable', !item.available)
    return element('li', {}, card)
  }
}

/** @param {SearchResult['item']} item */
function notes(item) {
  if (item.available && !item.stale) return null
  return element(
    'p',
    { class: 'card-notes' },
    item.available ? null : element('span', { class: 'note', text: 'Unavailable' }),
    item.stale
      ? element('span', {
          class: 'note note-stale',
          text: 'Older picture',
          attributes: {
            title: 'The newest picture of this product could not be read; this is found by the one before.',
          },
        })
      : null,
  )
}

/** @param {number} similarity cosine, 1 is the same picture */
function similarityBar(similarity) {
  const fill = element('span', { class: 'similarity-fill' })
  const share = (similarity - similarityFloor) / (1 - similarityFloor)
  fill.style.width = `${Math.round(Math.min(1, Math.max(0.02, share)) * 100)}%`
  const figure = similarity.toFixed(2)
  return element(
    'p',
    { class: 'similarity', attributes: { title: `Similarity ${figure} of 1` } },
    element('span', { class: 'similarity-track' }, fill),
    element('span', { class: 'hidden-text', text: 'Similarity ' }),
    element('span', { class: 'similarity-figure', text: figure }),
  )
}

function skeleton() {
  const parts = ['skeleton skeleton-plate', 'skeleton skeleton-line', 'skeleton skeleton-line short']
  return element('li', { attributes: { 'aria-hidden': true } }, ...parts.map(part => element('div', { class: part })))
}
