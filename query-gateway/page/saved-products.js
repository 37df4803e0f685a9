import { element, icon, pageElement } from './element.js'
import { productPicture } from './picture.js'
import { counted } from './wording.js'

/** @import { Product } from './search-session.js' */

const storedAs = 'freshet-saved'
const mostSaved = 100

/** Products that a person keeps in mind. They stay in this browser, newest first. */
export class SavedProducts {
  #listener
  #button = pageElement('saved-button', HTMLButtonElement)
  #figure = pageElement('saved-count', HTMLElement)
  #panel = pageElement('saved', HTMLElement)
  #list = pageElement('saved-list', HTMLUListElement)
  #empty = pageElement('saved-empty', HTMLElement)
  /** @type {readonly Product[]} */
  #products = readStored()

  /** @param {{ chosen: (product: Product) => void, changed: () => void }} listener */
  constructor(listener) {
    this.#listener = listener
    this.#panel.addEventListener('toggle', () => this.#render())
    // another tab of the same browser
    addEventListener('storage', event => {
      if (event.key !== storedAs) return
      this.#products = readStored()
      this.#render()
      listener.changed()
    })
    this.#render()
  }

  /** @param {string} itemId */
  has(itemId) {
    return this.#products.some(product => product.itemId === itemId)
  }

  /**
   * @param {Product} product
   * @returns {boolean} whether it is saved now
   */
  toggle(product) {
    const others = this.#products.filter(({ itemId }) => itemId !== product.itemId)
    const isSaved = others.length === this.#products.length
    this.#products = isSaved ? [product, ...others].slice(0, mostSaved) : others
    store(this.#products)
    this.#render()
    return isSaved
  }

  #render() {
    const saved = this.#products.length
    this.#figure.textContent = saved === 0 ? '' : String(saved)
    this.#button.setAttribute('aria-label', `Saved: ${counted(saved, 'product')}`)
    this.#empty.hidden = saved > 0
    if (this.#panel.matches(':popover-open')) this.#list.replaceChildren(...this.#products.map(one => this.#row(one)))
  }

  /** @param {Product} product */
  #row(product) {
    const name = product.title || product.itemId
    const choose = element(
      'button',
      {
        class: 'saved-product',
        attributes: { type: 'button', 'aria-label': `More like ${name}` },
        on: {
          click: () => {
            this.#panel.hidePopover()
            this.#listener.chosen(product)
          },
        },
      },
      productPicture(product.itemId, product.blob),
      element('span', { text: name }),
    )
    const drop = element(
      'button',
      {
        class: 'icon-button',
        attributes: { type: 'button', 'aria-label': `Remove ${name} from the saved ones` },
        on: {
          click: () => {
            this.toggle(product)
            this.#listener.changed()
          },
        },
      },
      icon('close'),
    )
    return element('li', { class: 'saved-row' }, choose, drop)
  }
}

/** @returns {readonly Product[]} */
function readStored() {
  try {
    const stored = JSON.parse(localStorage.getItem(storedAs) ?? '[]')
    return Array.isArray(stored) ? stored.filter(isProduct) : []
  } catch {
    // a browser that keeps nothing, or something else under this name
    return []
  }
}

/** @param {readonly Product[]} products */
function store(products) {
  try {
    localStorage.setItem(storedAs, JSON.stringify(products))
  } catch {
    // they last as long as the page then
  }
}

/** @param {any} value */
function isProduct(value) {
  return (
    typeof value?.itemId === 'string' &&
    typeof value.title === 'string' &&
    (value.blob === null || /^blob:[0-9a-f]{64}$/.test(value.blob))
  )
}
