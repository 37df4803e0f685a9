import { element } from './element.js'

/**
 * A part of the page that is made anew only when what it tells has changed, so that the keyboard's focus, a selection
 * and what is open stay where they are while figures come in every second.
 */
export class ChangingPart {
  element
  #told = ''

  /**
   * @param {keyof HTMLElementTagNameMap} name
   * @param {string} className
   */
  constructor(name, className) {
    this.element = element(name, { class: className })
  }

  /**
   * @template Told
   * @param {Told} told JSON
   * @param {(told: Told) => readonly (Node | string | null)[]} make
   */
  show(told, make) {
    const text = JSON.stringify(told)
    if (text === this.#told) return
    this.#told = text
    this.element.replaceChildren(...make(told).filter(child => child !== null))
  }
}
