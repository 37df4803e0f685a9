import { randomHex } from './api.js'
import { element, icon, pageElement } from './element.js'
import { preparePhoto } from './photo.js'
import { ApiError } from './request.js'

/**
 * @import { ItemBody } from '../../schemas/http-items.ts'
 * @import { Photo } from './photo.js'
 */

/**
 * @typedef {object} Draft a product as it was typed in
 * @property {string} itemId
 * @property {Omit<ItemBody, 'images'>} body without its picture
 * @property {Photo} photo
 */

/** A photo and a few fields. Tells the draft when it is complete and a person wants it published. */
export class PublishForm {
  #form = pageElement('publish-form', HTMLFormElement)
  #plate = pageElement('publish-photo', HTMLElement)
  #photoNote = pageElement('publish-photo-note', HTMLElement)
  #title = pageElement('publish-title', HTMLInputElement)
  #category = pageElement('publish-category', HTMLInputElement)
  #categories = pageElement('publish-categories', HTMLDataListElement)
  #price = pageElement('publish-price', HTMLInputElement)
  #currency = pageElement('publish-currency', HTMLInputElement)
  #itemId = pageElement('publish-id', HTMLInputElement)
  #submit = pageElement('publish-submit', HTMLButtonElement)
  #onDraft
  #onRefused
  /** @type {Photo | null} */
  #photo = null

  /**
   * @param {(draft: Draft) => void} onDraft
   * @param {(error: ApiError) => void} onRefused the file is no photo that could be published
   */
  constructor(onDraft, onRefused) {
    this.#onDraft = onDraft
    this.#onRefused = onRefused
    this.#form.addEventListener('submit', event => {
      event.preventDefault()
      this.#take()
    })
    this.#showPhoto()
  }

  /** @param {readonly string[]} categories on offer in the catalogue */
  offerCategories(categories) {
    this.#categories.replaceChildren(...categories.map(value => element('option', { attributes: { value } })))
  }

  /** @param {Blob} file */
  async takePhoto(file) {
    try {
      this.#photo = await preparePhoto(file)
      this.#showPhoto()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.#onRefused(error)
    }
  }

  /** While one is published the fields stand still. @param {boolean} isBusy */
  setBusy(isBusy) {
    this.#submit.disabled = isBusy
    this.#form.setAttribute('aria-busy', String(isBusy))
  }

  reset() {
    this.#form.reset()
    this.#photo = null
    this.#showPhoto()
    this.#title.focus()
  }

  #take() {
    if (this.#photo === null) {
      this.#photoNote.textContent = 'Choose a photo of the product first.'
      this.#photoNote.classList.add('wrong')
      pageElement('publish-choose', HTMLButtonElement).focus()
      return
    }
    const title = this.#title.value.trim()
    const price = this.#price.value.trim() === '' ? null : this.#price.valueAsNumber
    const itemId = this.#itemId.value.trim() || newItemId(title)
    const body = {
      title,
      category: this.#category.value.trim(),
      price,
      currency: price === null ? '' : this.#currency.value.trim().toUpperCase(),
    }
    this.#onDraft({ itemId, body, photo: this.#photo })
  }

  #showPhoto() {
    this.#photoNote.classList.remove('wrong')
    if (this.#photo === null) {
      this.#plate.replaceChildren(icon('photo'))
      this.#photoNote.textContent = ''
      return
    }
    const { address, size } = this.#photo
    if (size === null) this.#plate.replaceChildren(icon('photo'))
    else this.#plate.replaceChildren(element('img', { attributes: { src: address, alt: 'Photo of your product' } }))
    this.#photoNote.textContent = size === null ? 'This browser cannot show the photo. The server may read it.' : ''
  }
}

/** One that says what it is and that nobody else has. @param {string} title */
function newItemId(title) {
  const words = title
    .toLowerCase()
    .normalize('NFKD')
    .match(/[a-z0-9]+/g) ?? ['product']
  return `${words.join('-').slice(0, 60)}-${randomHex(3)}`
}
