import { publish, putBlob, remove } from './api.js'
import { pageElement } from './element.js'
import { ProblemNote } from './problem.js'
import { PublishForm } from './publish-form.js'
import { PublishSteps } from './publish-steps.js'
import { followReceipt, tookMs } from './receipt-follower.js'
import { ApiError } from './request.js'

/**
 * @import { Receipt } from '../../schemas/http-items.ts'
 * @import { Draft } from './publish-form.js'
 */

/**
 * Publishes a product and watches until it can be found: editing → publishing → following → found, failed, or gone
 * again. Leaving the view changes nothing of that; the event is the server's by then.
 */
export class PublishView {
  #steps = new PublishSteps()
  #problem = new ProblemNote(pageElement('publish-problem', HTMLElement))
  #done = pageElement('publish-done', HTMLElement)
  #delete = pageElement('publish-delete', HTMLButtonElement)
  #find = pageElement('publish-find', HTMLButtonElement)
  #form
  #running = new AbortController()
  /** @type {Draft | null} */
  #draft = null

  /**
   * @param {object} listener
   * @param {(draft: Draft) => void} listener.accepted it is durable in the catalogue
   * @param {(photo: Blob) => void} listener.find what looks like this photo is wanted
   */
  constructor({ accepted, find }) {
    this.#form = new PublishForm(
      draft => this.#run(signal => this.#publish(draft, signal, accepted)),
      error => this.#problem.show(error, () => {}),
    )
    this.#find.addEventListener('click', () => {
      if (this.#draft !== null) find(this.#draft.photo.upload)
    })
    this.#delete.addEventListener('click', () => this.#run(signal => this.#remove(signal)))
    pageElement('publish-another', HTMLButtonElement).addEventListener('click', () => this.#startAnew())
  }

  /** @param {Blob} file */
  takePhoto(file) {
    this.#problem.clear()
    return this.#form.takePhoto(file)
  }

  /** @param {readonly string[]} categories on offer in the catalogue */
  offerCategories(categories) {
    this.#form.offerCategories(categories)
  }

  #startAnew() {
    this.#running.abort()
    this.#draft = null
    this.#problem.clear()
    this.#done.hidden = true
    this.#steps.clear()
    this.#form.setBusy(false)
    this.#form.reset()
  }

  /** @param {(signal: AbortSignal) => Promise<void>} work */
  async #run(work) {
    this.#running.abort()
    this.#running = new AbortController()
    const { signal } = this.#running
    this.#problem.hide()
    this.#done.hidden = true
    this.#form.setBusy(true)
    try {
      await work(signal)
      this.#problem.clear()
    } catch (error) {
      if (signal.aborted) return
      this.#steps.stop()
      if (!(error instanceof ApiError)) throw error
      this.#problem.show(error, () => this.#run(work))
    }
    this.#form.setBusy(false)
  }

  /**
   * @param {Draft} draft
   * @param {AbortSignal} signal
   * @param {(draft: Draft) => void} accepted
   */
  async #publish(draft, signal, accepted) {
    this.#draft = draft
    this.#steps.start('publish')
    const { blob } = await putBlob(draft.photo.upload, signal)
    this.#steps.reached('uploaded')
    const { receipt } = await publish(draft.itemId, { ...draft.body, images: [blob] }, signal)
    this.#steps.reached('accepted')
    accepted(draft)
    const last = await followReceipt(receipt, signal, state => this.#showState(state))
    this.#finish(last)
  }

  /** @param {AbortSignal} signal */
  async #remove(signal) {
    if (this.#draft === null) return
    this.#steps.start('delete')
    const { receipt } = await remove(this.#draft.itemId, signal)
    this.#steps.reached('accepted')
    const last = await followReceipt(receipt, signal, () => {})
    this.#finish(last)
  }

  /** @param {Receipt} receipt */
  #showState({ status }) {
    if (status === 'embedded' || status === 'searchable') this.#steps.reached('embedded')
  }

  /** @param {Receipt} receipt */
  #finish(receipt) {
    const { status, failure } = receipt
    const name = this.#draft?.body.title ?? receipt.itemId
    if (status === 'searchable') this.#steps.finish('searchable', name, tookMs(receipt))
    else if (status === 'removed') this.#steps.finish('removed', name, tookMs(receipt))
    else this.#steps.fail(status, failure)
    const isThere = status === 'searchable' || status === 'superseded'
    this.#done.hidden = false
    this.#find.hidden = !isThere
    this.#delete.hidden = status === 'removed'
  }
}
