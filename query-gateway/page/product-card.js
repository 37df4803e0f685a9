import { element, icon } from './element.js'
import { productPicture } from './picture.js'
import { price } from './wording.js'

/** @import { ItemView } from '../../schemas/http-search.ts' */

/** Unrelated products rarely fall below this; the bar shows what lies above it. */
const similarityFloor = 0.2

/**
 * @typedef {object} Shown a product on a card
 * @property {ItemView} item
 * @property {string | null} blob its picture
 * @property {number | null} similarity cosine, 1 is the same picture; null for one that the search left out as nearly
 *   the same as another
 */

/**
 * @typedef {object} CardActions
 * @property {() => void} chosen more like it is wanted
 * @property {() => boolean} saveToggled returns whether it is saved now
 * @property {() => void} dismissed
 * @property {boolean} isSaved
 * @property {boolean} isOwn it was published from this page
 */

/**
 * A product found. The whole card is the button for more like it; saving and dismissing lie on top.
 * @param {Shown} shown
 * @param {CardActions} actions
 */
export function productCard({ item, blob, similarity }, actions) {
  const name = item.title || item.itemId
  const more = element(
    'button',
    {
      class: 'card-more',
      attributes: { type: 'button', 'aria-label': `More like ${name}` },
      on: { click: actions.chosen },
    },
    icon('similar'),
    element('span', { text: 'More like this' }),
  )
  const details = element(
    'div',
    { class: 'card-text' },
    element('h2', { class: 'card-title', text: name }),
    element('p', { class: 'card-price', text: price(item.price, item.currency) || 'No price' }),
    element('p', { class: 'card-category', text: item.category }),
    similarity === null ? null : similarityBar(similarity),
  )
  const card = element(
    'article',
    { class: 'card' },
    productPicture(item.itemId, blob),
    notes(item, actions.isOwn),
    details,
    more,
    cardButtons(item, actions),
  )
  card.classList.toggle('unavailable', !item.available)
  return card
}

/**
 * @param {ItemView} item
 * @param {CardActions} actions
 */
function cardButtons({ itemId, title }, actions) {
  const name = title || itemId
  const save = element(
    'button',
    {
      class: 'card-button card-save',
      attributes: {
        type: 'button',
        title: 'Save',
        'aria-label': `Save ${name}`,
        'aria-pressed': String(actions.isSaved),
        'data-item': itemId,
      },
      on: { click: () => save.setAttribute('aria-pressed', String(actions.saveToggled())) },
    },
    icon('save'),
  )
  const dismiss = element(
    'button',
    {
      class: 'card-button card-dismiss',
      attributes: { type: 'button', title: 'Not relevant', 'aria-label': `${name} is not relevant` },
      on: { click: actions.dismissed },
    },
    icon('dismiss'),
  )
  return element('div', { class: 'card-buttons' }, save, dismiss)
}

/**
 * What stands where a card was that a person found not relevant.
 * @param {string} name
 * @param {() => void} undo
 */
export function dismissedCard(name, undo) {
  const button = element('button', {
    class: 'button small',
    text: 'Undo',
    attributes: { type: 'button', 'aria-label': `Undo: ${name} is relevant` },
    on: { click: undo },
  })
  const text = element('p', { class: 'quiet' }, element('strong', { text: name }), ' is not relevant. Noted.')
  return element('div', { class: 'card-gone' }, text, button)
}

/**
 * @param {ItemView} item
 * @param {boolean} isOwn
 */
function notes(item, isOwn) {
  if (item.available && !item.stale && !isOwn) return null
  return element(
    'p',
    { class: 'card-notes' },
    isOwn ? element('span', { class: 'note note-own', text: 'Yours' }) : null,
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
