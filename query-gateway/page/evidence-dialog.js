import { element, pageElement } from './element.js'
import { measureTable } from './generation-facts.js'

const dialog = pageElement('evidence-dialog', HTMLDialogElement)

/**
 * The document behind a certificate or a canary: what it measured, and all of it.
 * @param {string} id of the generation
 * @param {string} digest
 * @param {string} text JSON
 */
export function showEvidence(id, digest, text) {
  const { measures, parsed } = read(text)
  pageElement('evidence-title', HTMLElement).textContent = `Evidence of ${id}`
  pageElement('evidence-digest', HTMLElement).textContent = `SHA-256 ${digest}`
  pageElement('evidence-body', HTMLElement).replaceChildren(
    ...(measures.length === 0 ? [] : [measureTable(measures)]),
    element('pre', { text: parsed, attributes: { tabindex: 0, 'aria-label': 'The whole document' } }),
  )
  dialog.showModal()
}

/** Evidence of older releases is of other shapes. @param {string} text */
function read(text) {
  try {
    const document = JSON.parse(text)
    const measures = Array.isArray(document.measures) ? document.measures : []
    return { measures, parsed: JSON.stringify(document, null, 2) }
  } catch {
    return { measures: [], parsed: text }
  }
}

pageElement('evidence-close', HTMLButtonElement).addEventListener('click', () => dialog.close())
