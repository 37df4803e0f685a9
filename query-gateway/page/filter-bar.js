import { element, pageElement } from './element.js'
import { regionName } from './wording.js'

/** @import { Filter, ItemView } from '../../schemas/http-search.ts' */

const typingPauseMs = 350

/**
 * Hard filters of a search. Categories and regions on offer are those seen in results so far, so that choosing one
 * does not take the others away.
 */
export class FilterBar {
  #onChange
  #chips = pageElement('filter-categories', HTMLElement)
  #region = pageElement('filter-region', HTMLSelectElement)
  #available = pageElement('filter-available', HTMLInputElement)
  #priceMin = pageElement('filter-price-min', HTMLInputElement)
  #priceMax = pageElement('filter-price-max', HTMLInputElement)
  #clear = pageElement('filter-clear', HTMLButtonElement)
  /** @type {Set<string>} */
  #seenCategories = new Set()
  /** @type {Set<string>} */
  #seenRegions = new Set()
  /** @type {Set<string>} */
  #chosenCategories = new Set()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange
    this.#region.addEventListener('change', () => this.#changed())
    this.#available.addEventListener('change', () => this.#changed())
    for (const input of [this.#priceMin, this.#priceMax])
      input.addEventListener('input', () => {
        clearTimeout(this.#typing)
        this.#typing = setTimeout(() => this.#changed(), typingPauseMs)
      })
    this.#clear.addEventListener('click', () => this.reset())
  }

  /** @returns {Filter | undefined} undefined when nothing is filtered */
  get filter() {
    const min = numberIn(this.#priceMin)
    const max = numberIn(this.#priceMax)
    const price = { ...(min !== null && { min }), ...(max !== null && { max }) }
    const filter = {
      ...(this.#chosenCategories.size > 0 && { category: [...this.#chosenCategories] }),
      ...(this.#region.value !== '' && { region: [this.#region.value] }),
      ...(this.#available.checked && { available: true }),
      ...((min !== null || max !== null) && { price }),
    }
    return Object.keys(filter).length > 0 ? filter : undefined
  }

  reset() {
    this.#chosenCategories.clear()
    this.#region.value = ''
    this.#available.checked = false
    this.#priceMin.value = ''
    this.#priceMax.value = ''
    this.#changed()
  }

  /** Another photo shows other things: the categories chosen for the last one do not fit it. Asks for no search. */
  dropCategories() {
    this.#chosenCategories.clear()
    this.#render()
  }

  /** @param {readonly ItemView[]} items */
  learn(items) {
    const before = this.#seenCategories.size + this.#seenRegions.size
    for (const item of items) {
      if (item.category !== '') this.#seenCategories.add(item.category)
      for (const region of item.regions) this.#seenRegions.add(region)
    }
    if (this.#seenCategories.size + this.#seenRegions.size > before) this.#render()
  }

  #changed() {
    clearTimeout(this.#typing)
    this.#render()
    this.#onChange()
  }

  #render() {
    this.#clear.hidden = this.filter === undefined
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.category : undefined
    const chips = [...this.#seenCategories].sort((a, b) => a.localeCompare(b)).map(category => this.#chip(category))
    this.#chips.replaceChildren(...chips)
    chips.find(chip => chip.dataset.category === focused)?.focus()
    const chosen = this.#region.value
    const regions = [...this.#seenRegions].sort((a, b) => regionName(a).localeCompare(regionName(b)))
    const options = regions.map(region =>
      element('option', { text: regionName(region), attributes: { value: region } }),
    )
    this.#region.replaceChildren(element('option', { text: 'All regions', attributes: { value: '' } }), ...options)
    this.#region.value = chosen
  }

  /** @param {string} category */
  #chip(category) {
    const chip = element('button', {
      class: 'chip',
      text: category,
      attributes: { type: 'button', 'aria-pressed': String(this.#chosenCategories.has(category)) },
      on: {
        click: () => {
          if (!this.#chosenCategories.delete(category)) this.#chosenCategories.add(category)
          this.#changed()
        },
      },
    })
    chip.dataset.category = category
    return chip
  }
}

/** @param {HTMLInputElement} input */
function numberIn(input) {
  return input.value.trim() === '' || !Number.isFinite(input.valueAsNumber) || input.valueAsNumber < 0
    ? null
    : input.valueAsNumber
}
