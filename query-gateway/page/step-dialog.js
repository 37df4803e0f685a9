import { element, pageElement } from './element.js'

/**
 * @import { GenerationStep } from '../../schemas/http-generations.ts'
 * @typedef {{ readonly title: string, readonly text: string, readonly confirm: string }} Question
 */

const dialog = pageElement('step-dialog', HTMLDialogElement)
const form = pageElement('step-form', HTMLFormElement)
const reason = pageElement('step-reason', HTMLInputElement)
const force = pageElement('step-force', HTMLElement)
const without = pageElement('step-without', HTMLInputElement)

/**
 * What a step does, before it is taken.
 * @param {GenerationStep} step
 * @param {string} id
 * @param {string} share such as `5 %`; of `route` alone
 * @returns {Question}
 */
export function questionOf(step, id, share) {
  switch (step) {
    case 'pause':
      return {
        title: `Pause the rebuild of ${id}`,
        text: 'Its backfill stands still until it is resumed.',
        confirm: 'Pause',
      }
    case 'resume':
      return { title: `Resume the rebuild of ${id}`, text: 'It goes on where it was.', confirm: 'Resume' }
    case 'verify':
      return {
        title: `Verify ${id}`,
        text: 'Each partition of each replica is proven to hold the same items at the same versions as the active generation. What comes out is kept as evidence.',
        confirm: 'Verify',
      }
    case 'canary':
      return {
        title: `Run the canary of ${id}`,
        text: 'Questions with known answers are put to it and to the active generation, and both are held against the bounds. What comes out is kept as evidence.',
        confirm: 'Run it',
      }
    case 'route':
      return {
        title: `Give ${id} ${share} of the queries`,
        text: 'The rest goes to the active generation. Sessions that are on the one whose share grows stay with it.',
        confirm: `Give ${share}`,
      }
    case 'rollback':
      return {
        title: 'Give the queries back',
        text: 'All queries go to the generation that had them before. It has gone on consuming: nothing published since is missing in it.',
        confirm: 'Undo',
      }
    case 'retire':
      return {
        title: `Retire ${id}`,
        text: 'Its shards, its item table and its topic are deleted, and its model is unloaded. This cannot be undone.',
        confirm: 'Retire',
      }
  }
}

/**
 * Asks why, which is kept with the step for ever.
 * @param {Question} question
 * @param {readonly string[]} lacking what the step would be taken without, in words: the person has to say so too
 * @returns {Promise<string | null>} null when the person thinks better of it
 */
export function askReason({ title, text, confirm }, lacking) {
  pageElement('step-title', HTMLElement).textContent = title
  pageElement('step-text', HTMLElement).textContent = text
  pageElement('step-confirm', HTMLButtonElement).textContent = confirm
  reason.value = ''
  force.hidden = lacking.length === 0
  without.checked = false
  without.required = lacking.length > 0
  pageElement('step-lacking', HTMLElement).replaceChildren(...lacking.map(each => element('li', { text: each })))
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
  const given = reason.value.trim()
  if (given === '') return reason.focus()
  dialog.close(given)
})
pageElement('step-cancel', HTMLButtonElement).addEventListener('click', () => dialog.close(''))
