import { pageElement } from './element.js'

const dialog = pageElement('key-dialog', HTMLDialogElement)
const form = pageElement('key-form', HTMLFormElement)
const field = pageElement('key-field', HTMLInputElement)
const refused = pageElement('key-refused', HTMLElement)

/**
 * Asks for the key of this server.
 * @param {boolean} refusedOne whether the server has just refused one
 * @returns {Promise<string | null>} null when none is given
 */
export function promptForKey(refusedOne) {
  refused.hidden = !refusedOne
  field.setAttribute('aria-invalid', String(refusedOne))
  field.value = ''
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise(resolve => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === '' ? null : dialog.returnValue), {
      once: true,
    })
  })
}

form.addEventListener('submit', event => {
  event.preventDefault()
  dialog.close(field.value.trim())
})
pageElement('key-cancel', HTMLButtonElement).addEventListener('click', () => dialog.close(''))
