import { element, pageElement } from './element.js'
import { FacetMemory } from './facet-memory.js'
import { PriceHistogram } from './price-histogram.js'
import { count, counted, regionName } from './wording.js'

/**
 * @import { Facets, Filter } from '../../schemas/http-search.ts'
 * @import { FacetOption, FacetValue } from './facet-memory.js'
 */

const typingPauseMs = 350
/** An attribute with more values than these is no choice but a description. */
const mostAttributeValues = 8
const mostAttributes = 4
/** Says where the figures of demo products come from; nobody shops by it. */
const notOffered = new Set(['madeUp'])

/**
 * Hard filters of a search. The values on offer are those that the candidates have, with how many of them do; one that
 * was seen stays on offer, so that choosing one does not take the others away.
 */
export class FilterBar {
  #onChange
  #chips = pageElement('filter-categories', HTMLElement)
  #region = pageElement('filter-region', HTMLSelectElement)
  #available = pageElement('filter-available', HTMLInputElement)
  #availableCount = pageElement('filter-available-count', HTMLElement)
  #priceMin = pageElement('filter-price-min', HTMLInputElement)
  #priceMax = pageElement('filter-price-max', HTMLInputElement)
  #attributes = pageElement('filter-attributes', HTMLElement)
  #counted = pageElement('filter-counted', HTMLElement)
  #clear = pageElement('filter-clear', HTMLButtonElement)
  #histogram
  #categories = new FacetMemory('category')
  #regions = new FacetMemory('region')
  #availability = new FacetMemory('available')
  /** @type {Map<string, FacetMemory>} by attribute */
  #attributeValues = new Map()
  /** @type {Set<FacetValue>} */
  #chosenCategories = new Set()
  /** @type {Map<string, Set<FacetValue>>} by attribute; no empty sets */
  #chosenAttributes = new Map()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange
    this.#histogram = new PriceHistogram(pageElement('filter-price-bars', HTMLElement), ({ from, to }) => {
      this.#priceMin.value = String(from)
      this.#priceMax.value = String(to)
      this.#changed()
    })
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
    const attributes = Object.fromEntries([...this.#chosenAttributes].map(([name, values]) => [name, [...values]]))
    const filter = {
      ...(this.#chosenCategories.size > 0 && { category: [...this.#chosenCategories].map(String) }),
      ...(this.#region.value !== '' && { region: [this.#region.value] }),
      ...(this.#available.checked && { available: true }),
      ...((min !== null || max !== null) && { price }),
      ...(this.#chosenAttributes.size > 0 && { attributes }),
    }
    return Object.keys(filter).length > 0 ? filter : undefined
  }

  /** Seen so far. @returns {readonly string[]} */
  get categories() {
    return this.#categories.options.map(({ value }) => String(value)).filter(value => value !== '')
  }

  reset() {
    this.#chosenCategories.clear()
    this.#chosenAttributes.clear()
    this.#region.value = ''
    this.#available.checked = false
    this.#priceMin.value = ''
    this.#priceMax.value = ''
    this.#changed()
  }

  /** Another photo shows other things: what was chosen for the last one does not fit it. Asks for no search. */
  startAnew() {
    this.#chosenCategories.clear()
    this.#chosenAttributes.clear()
    this.#categories = new FacetMemory('category')
    this.#attributeValues.clear()
    this.#render()
  }

  /**
   * @param {Facets} facets
   * @param {Filter | undefined} filter that the answer was asked with
   * @param {string} about what was searched
   */
  learn(facets, filter, about) {
    for (const memory of [this.#categories, this.#regions, this.#availability]) memory.learn(facets, filter, about)
    for (const name of Object.keys(facets.attributes)) {
      if (notOffered.has(name) || this.#attributeValues.has(name)) continue
      this.#attributeValues.set(name, new FacetMemory('attributes', name))
    }
    for (const memory of this.#attributeValues.values()) memory.learn(facets, filter, about)
    this.#counted.textContent = `Counts are of the ${counted(facets.of, 'product')} that come closest.`
    // bars of what passes a price range would say nothing of the prices beyond it
    if (filter?.price === undefined) this.#histogram.show(facets.price)
    this.#render()
  }

  #changed() {
    clearTimeout(this.#typing)
    this.#render()
    this.#onChange()
  }

  #render() {
    this.#clear.hidden = this.filter === undefined
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.facet : undefined
    const categories = this.#categories.options.filter(({ value }) => value !== '')
    this.#chips.replaceChildren(...categories.map(option => this.#chip('category', option, this.#chosenCategories)))
    this.#attributes.replaceChildren(...this.#attributeGroups())
    const again = [...this.#chips.children, ...this.#attributes.querySelectorAll('.chip')].find(
      chip => chip instanceof HTMLElement && chip.dataset.facet === focused,
    )
    if (focused !== undefined && again instanceof HTMLElement) again.focus()
    this.#renderRegions()
    const there = this.#availability.options.find(({ value }) => value === true)?.count ?? null
    this.#availableCount.textContent = there === null ? '' : ` (${count(there)})`
  }

  #renderRegions() {
    const chosen = this.#region.value
    const options = this.#regions.options.map(({ value, count: figure }) => ({
      value: String(value),
      text: figure === null ? regionName(String(value)) : `${regionName(String(value))} (${count(figure)})`,
    }))
    options.sort((a, b) => a.text.localeCompare(b.text))
    this.#region.replaceChildren(
      element('option', { text: 'All regions', attributes: { value: '' } }),
      ...options.map(({ value, text }) => element('option', { text, attributes: { value } })),
    )
    this.#region.value = chosen
  }

  /** Of attributes that divide the candidates into a few groups. */
  #attributeGroups() {
    const groups = [...this.#attributeValues]
      .map(([name, memory]) => ({ name, options: memory.options }))
      .filter(({ name, options }) => {
        const isChoice = options.length > 1 && options.length <= mostAttributeValues
        return isChoice || this.#chosenAttributes.has(name)
      })
    return groups.slice(0, mostAttributes).map(({ name, options }) => {
      const chosen = this.#chosenAttributes.get(name) ?? new Set()
      const chips = options.map(option => this.#chip(name, option, chosen))
      const legend = element('legend', { class: 'facet-name', text: spaced(name) })
      return element('fieldset', { class: 'facet' }, legend, element('div', { class: 'facet-values' }, ...chips))
    })
  }

  /**
   * @param {string} name
   * @param {FacetOption} option
   * @param {Set<FacetValue>} chosen
   */
  #chip(name, { value, count: figure }, chosen) {
    const text = typeof value === 'boolean' ? (value ? 'Yes' : 'No') : String(value)
    const chip = element(
      'button',
      {
        class: 'chip',
        attributes: {
          type: 'button',
          'aria-pressed': String(chosen.has(value)),
          'aria-label': figure === null ? text : `${text}, ${counted(figure, 'product')}`,
        },
        on: { click: () => this.#toggle(name, value, chosen) },
      },
      element('span', { class: 'chip-text', text }),
      figure === null ? null : element('span', { class: 'chip-count', text: count(figure) }),
    )
    chip.dataset.facet = `${name} ${value}`
    return chip
  }

  /**
   * @param {string} name `category` or an attribute
   * @param {FacetValue} value
   * @param {Set<FacetValue>} chosen
   */
  #toggle(name, value, chosen) {
    if (!chosen.delete(value)) chosen.add(value)
    if (chosen !== this.#chosenCategories) {
      if (chosen.size > 0) this.#chosenAttributes.set(name, chosen)
      else this.#chosenAttributes.delete(name)
    }
    this.#changed()
  }
}

/** @param {HTMLInputElement} input */
function numberIn(input) {
  return input.value.trim() === '' || !Number.isFinite(input.valueAsNumber) || input.valueAsNumber < 0
    ? null
    : input.valueAsNumber
}

/** `seatCount` as people write it. @param {string} name */
function spaced(name) {
  const words = name.replaceAll(/([a-z])([A-Z])/g, '$1 $2').replaceAll(/[-_]+/g, ' ')
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase()
}
