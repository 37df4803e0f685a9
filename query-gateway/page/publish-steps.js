import { element, icon, pageElement } from './element.js'
import { seconds, whatToDo } from './wording.js'

/**
 * @import { Receipt } from '../../schemas/http-items.ts'
 * @typedef {'uploaded' | 'accepted' | 'embedded' | 'searchable' | 'removed'} Step
 */

/** @type {Readonly<Record<'publish' | 'delete', readonly (readonly [Step, string])[]>>} */
const ways = {
  publish: [
    ['uploaded', 'Photo uploaded'],
    ['accepted', 'Accepted: nothing can lose it now'],
    ['embedded', 'Objects found and embedded'],
    ['searchable', 'Can be found'],
  ],
  delete: [
    ['accepted', 'Accepted: nothing can bring it back'],
    ['removed', 'Can no longer be found'],
  ],
}

/** How far a product has come, with a clock that runs until it can be found. */
export class PublishSteps {
  #place = pageElement('publish-progress', HTMLElement)
  #clock = pageElement('publish-clock', HTMLElement)
  #said = pageElement('publish-said', HTMLElement)
  #detail = pageElement('publish-detail', HTMLElement)
  #list = pageElement('publish-steps', HTMLOListElement)
  #startedAtMs = 0
  /** @type {Map<Step, { readonly row: HTMLElement, readonly time: HTMLElement }>} */
  #rows = new Map()
  #frame = 0

  /** @param {'publish' | 'delete'} way */
  start(way) {
    this.stop()
    this.#rows.clear()
    for (const [step, text] of ways[way]) {
      const time = element('span', { class: 'step-time quiet' })
      const row = element('li', { class: 'step' }, icon('check'), element('span', { text }), time)
      this.#rows.set(step, { row, time })
    }
    this.#list.replaceChildren(...[...this.#rows.values()].map(({ row }) => row))
    this.#said.textContent = way === 'publish' ? 'Publishing…' : 'Deleting…'
    this.#detail.textContent = ''
    this.#place.hidden = false
    this.#place.classList.remove('done', 'wrong')
    this.#startedAtMs = performance.now()
    this.#run()
    this.#reveal()
  }

  /** Steps before it count as reached too. @param {Step} step */
  reached(step) {
    const passedMs = performance.now() - this.#startedAtMs
    for (const [name, { row, time }] of this.#rows) {
      if (!row.classList.contains('reached')) {
        row.classList.add('reached')
        time.textContent = seconds(passedMs)
      }
      if (name === step) return
    }
  }

  /**
   * @param {'searchable' | 'removed'} step
   * @param {string} name of the product
   * @param {number | null} tookMs by the server's clock
   */
  finish(step, name, tookMs) {
    this.stop()
    this.reached(step)
    const took = tookMs ?? performance.now() - this.#startedAtMs
    const what = step === 'searchable' ? 'can be found' : 'is gone from the index'
    const since = tookMs === null ? '' : ' after the catalogue accepted it'
    this.#clock.textContent = seconds(took)
    this.#said.textContent = `${name} ${what}, ${seconds(took)}${since}.`
    this.#place.classList.add('done')
    this.#reveal()
  }

  /**
   * @param {Receipt['status']} status
   * @param {Receipt['failure']} failure
   */
  fail(status, failure) {
    this.stop()
    this.#place.classList.add('wrong')
    if (failure === null) {
      this.#said.textContent = status === 'superseded' ? 'A newer event of this product has passed this one.' : status
      return
    }
    const next = failure.retryable ? 'It is still being tried; there is nothing to do.' : whatToDo(failure)
    this.#said.textContent = `It cannot be found. ${next}`
    this.#detail.textContent = failure.message
  }

  stop() {
    cancelAnimationFrame(this.#frame)
  }

  clear() {
    this.stop()
    this.#place.hidden = true
  }

  /** It stands beside the form on a desktop, and below it on a phone. */
  #reveal() {
    requestAnimationFrame(() => this.#place.scrollIntoView({ block: 'nearest' }))
  }

  #run() {
    this.#clock.textContent = seconds(performance.now() - this.#startedAtMs)
    this.#frame = requestAnimationFrame(() => this.#run())
  }
}
