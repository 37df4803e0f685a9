/** @import { Facets, Filter } from '../../schemas/http-search.ts' */

/**
 * @typedef {string | number | boolean} FacetValue
 * @typedef {{ readonly value: FacetValue, readonly count: number | null }} FacetOption a value to filter by; the count
 *   of candidates is null where no answer has told it for what is searched now
 */

/**
 * The values of one facet, with counts. An answer counts what passes its filter, so that one filtered by category
 * knows nothing of the other categories: their counts are those of the last answer whose filter differs in nothing
 * else. Values keep the order in which they came, so that nothing moves away under a finger.
 */
export class FacetMemory {
  #attribute
  #facet
  /** @type {Map<FacetValue, number>} in order of first sight */
  #counts = new Map()
  /** Whose counts hold for what is searched now. @type {Set<FacetValue>} */
  #told = new Set()
  /** What the counts were made with, apart from this facet's own filter. */
  #madeWith = ''

  /**
   * @param {'category' | 'region' | 'available' | 'attributes'} facet
   * @param {string} [attribute] which one, of the facet `attributes`
   */
  constructor(facet, attribute = '') {
    this.#facet = facet
    this.#attribute = attribute
  }

  /** @returns {readonly FacetOption[]} in order of first sight */
  get options() {
    return [...this.#counts].map(([value, count]) => ({ value, count: this.#told.has(value) ? count : null }))
  }

  /**
   * @param {Facets} facets
   * @param {Filter | undefined} filter that the answer was asked with
   * @param {string} about what was searched
   */
  learn(facets, filter, about) {
    const told = this.#facet === 'attributes' ? (facets.attributes[this.#attribute] ?? []) : facets[this.#facet]
    const { others, isFiltered } = this.#without(filter ?? {})
    const madeWith = JSON.stringify([about, others])
    if (!isFiltered || madeWith !== this.#madeWith) this.#told.clear()
    this.#madeWith = madeWith
    for (const { value, count } of told) {
      this.#counts.set(value, count)
      this.#told.add(value)
    }
  }

  /** @param {Filter} filter */
  #without(filter) {
    const { [this.#facet]: own, ...others } = filter
    if (this.#facet !== 'attributes') return { others, isFiltered: own !== undefined }
    const { [this.#attribute]: value, ...rest } = filter.attributes ?? {}
    return { others: { ...others, attributes: rest }, isFiltered: value !== undefined }
  }
}
