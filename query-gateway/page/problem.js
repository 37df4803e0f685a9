import { element, icon } from './element.js'
import { whatToDo } from './wording.js'

/** @import { ApiError } from './api.js' */

/**
 * Says in place what went wrong and what to do about it.
 * @param {HTMLElement} place an element with role alert
 * @param {ApiError} error
 * @param {() => void} retry offered when the same thing can succeed later
 */
export function showProblem(place, error, retry) {
  const text = element(
    'p',
    { class: 'problem-text' },
    element('strong', { text: sentence(error.message) }),
    whatToDo(error),
  )
  const again = element('button', {
    class: 'button small',
    text: 'Try again',
    attributes: { type: 'button' },
    on: { click: retry },
  })
  place.replaceChildren(icon('alert'), text, ...(error.retryable ? [again] : []))
  place.hidden = false
}

/** @param {HTMLElement} place */
export function clearProblem(place) {
  place.hidden = true
  place.replaceChildren()
}

/** @param {string} message */
function sentence(message) {
  const capital = message.charAt(0).toUpperCase() + message.slice(1)
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}
