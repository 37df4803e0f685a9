/** @import { Status } from '../../schemas/http-operations.ts' */

/** One a second: three minutes. */
export const historyPoints = 180
const secondMs = 1000

/**
 * @typedef {object} Moment
 * @property {number} second
 * @property {number} accepted events a second
 * @property {number} searchable items a second that became searchable
 * @property {number} indexAgeMs
 */

/** How the index went since this page was opened, at most the last three minutes. Seconds without news are not there. */
export class LiveHistory {
  /** @type {readonly Moment[]} */
  #moments = []

  /** @param {Status} status */
  add({ atMs, rates, indexAgeMs }) {
    const second = Math.floor(atMs / secondMs)
    const moment = { second, accepted: rates.accepted ?? 0, searchable: rates.searchable ?? 0, indexAgeMs }
    const others = this.#moments.filter(one => one.second !== second && one.second > second - historyPoints)
    this.#moments = [...others, moment]
  }

  /** @returns {readonly Moment[]} oldest first */
  get moments() {
    return this.#moments
  }

  /** @param {'accepted' | 'searchable' | 'indexAgeMs'} figure */
  values(figure) {
    return this.#moments.map(moment => moment[figure])
  }

  /** How long it goes back, in seconds. */
  get spanSeconds() {
    const [first] = this.#moments
    const last = this.#moments.at(-1)
    return first === undefined || last === undefined ? 0 : last.second - first.second + 1
  }
}
