/**
 * @typedef {object} ElementProperties
 * @property {string} [class]
 * @property {string} [text]
 * @property {Record<string, (event: any) => void>} [on] listeners by event name
 * @property {Record<string, string | number | boolean | null>} [attributes] null and false leave the attribute out, true sets it empty
 */

/**
 * An element with its content. Text goes in as text nodes, so nothing a catalogue holds can become markup.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {ElementProperties} [properties]
 * @param {...(Node | string | null)} children null is skipped
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name)
  if (properties.class !== undefined) made.className = properties.class
  if (properties.text !== undefined) made.textContent = properties.text
  for (const [attribute, value] of Object.entries(properties.attributes ?? {})) {
    if (value === null || value === false) continue
    made.setAttribute(attribute, value === true ? '' : String(value))
  }
  for (const [event, listener] of Object.entries(properties.on ?? {})) made.addEventListener(event, listener)
  made.append(...children.filter(child => child !== null))
  return made
}

/**
 * An icon of the sprite in index.html; decoration only, hidden from assistive technology.
 * @param {string} name
 */
export function icon(name) {
  const namespace = 'http://www.w3.org/2000/svg'
  const svg = document.createElementNS(namespace, 'svg')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('aria-hidden', 'true')
  const use = document.createElementNS(namespace, 'use')
  use.setAttribute('href', `#icon-${name}`)
  svg.append(use)
  return svg
}

/**
 * The element of index.html with this id and class; a page without it is broken at once and not later.
 * @template {Element} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function pageElement(id, kind) {
  const found = document.getElementById(id)
  if (found instanceof kind) return found
  throw new Error(`index.html has no ${kind.name} with the id ${id}`)
}
