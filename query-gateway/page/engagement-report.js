import { sendEngagements } from './api.js'

/**
 * @import { Engagement } from '../../schemas/http-items.ts'
 * @typedef {Engagement['action']} Action
 */

/**
 * Tells the server what a person does with the results of one answer, so that the ranking learns from it. Each thing
 * is told once, however often it is clicked.
 */
export class EngagementReport {
  #queryId
  /** @type {Set<string>} */
  #told = new Set()

  /** @param {string} queryId of the answer */
  constructor(queryId) {
    this.#queryId = queryId
  }

  /**
   * @param {Action} action
   * @param {string} itemId
   * @param {number} position of the result in the answer, from 0
   */
  tell(action, itemId, position) {
    const key = `${action} ${itemId}`
    if (this.#told.has(key)) return
    this.#told.add(key)
    // one takes the other back, and may be taken back itself
    if (action === 'relevant') this.#told.delete(`notRelevant ${itemId}`)
    if (action === 'notRelevant') this.#told.delete(`relevant ${itemId}`)
    sendEngagements([{ queryId: this.#queryId, itemId, action, position }])
  }
}
