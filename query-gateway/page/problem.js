import { replaceKey } from './api-key.js'
import { element, icon } from './element.js'
import { counted, whatToDo, whatWentWrong } from './wording.js'

/** @import { ApiError } from './request.js' */

/** What is still refused after so many tries of the page's own waits for a person. */
const mostOwnTries = 3
const codesThatPass = new Set(['overloaded', 'rate-limited', 'not-ready'])

/** Says in place what went wrong and what to do about it. A server that names a time is asked again then. */
export class ProblemNote {
  #place
  #ownTries = 0
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown

  /** @param {HTMLElement} place an element with role alert */
  constructor(place) {
    this.#place = place
  }

  /**
   * @param {ApiError} error
   * @param {() => void} retry offered when the same thing can succeed later
   */
  show(error, retry) {
    this.#stop()
    const text = element(
      'p',
      { class: 'problem-text' },
      element('strong', { text: whatWentWrong(error) }),
      whatToDo(error),
    )
    const again = element('button', {
      class: 'button small',
      text: tryAgain(error),
      attributes: { type: 'button' },
      on: {
        click: async () => {
          if (error.code === 'forbidden' && !(await replaceKey())) return
          this.#ownTries = 0
          this.#stop()
          retry()
        },
      },
    })
    const canRetry = error.retryable || error.code === 'unauthenticated' || error.code === 'forbidden'
    this.#place.replaceChildren(icon('alert'), text, ...(canRetry ? [again] : []))
    this.#place.hidden = false
    if (error.retryAfterMs !== null && codesThatPass.has(error.code)) this.#retryLater(error.retryAfterMs, retry)
  }

  /** What was asked for has worked, or is asked for no more. */
  clear() {
    this.#ownTries = 0
    this.hide()
  }

  /** A new try begins. */
  hide() {
    this.#stop()
    this.#place.hidden = true
    this.#place.replaceChildren()
  }

  /**
   * @param {number} afterMs
   * @param {() => void} retry
   */
  #retryLater(afterMs, retry) {
    if (this.#ownTries >= mostOwnTries) return
    this.#ownTries++
    // each try waits longer, and not all pages come back in the same moment
    let seconds = Math.max(1, Math.ceil((afterMs / 1000) * this.#ownTries + Math.random() * 2))
    // an alert is read out again at every change: the seconds are for the eyes
    const figure = element('span', { attributes: { 'aria-hidden': true } })
    const said = element('span', { class: 'hidden-text', text: `Asking again in ${counted(seconds, 'second')}.` })
    const tick = () => {
      figure.textContent = `Asking again in ${seconds} s…`
    }
    tick()
    this.#place.append(element('p', { class: 'problem-countdown quiet' }, figure, said))
    this.#countdown = setInterval(() => {
      seconds--
      if (seconds > 0) return tick()
      this.#stop()
      retry()
    }, 1000)
  }

  #stop() {
    clearInterval(this.#countdown)
  }
}

/** @param {ApiError} error */
function tryAgain({ code }) {
  if (code === 'unauthenticated') return 'Enter a key'
  if (code === 'forbidden') return 'Use another key'
  return 'Try again'
}
