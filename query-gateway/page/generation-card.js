import { ChangingPart } from './changing-part.js'
import { element } from './element.js'
import {
  figures,
  historyRow,
  isBuilding,
  lifeLine,
  measureTable,
  missingLines,
  percent,
  proofLine,
  rebuildProgress,
  subtitle,
} from './generation-facts.js'

/**
 * @import { GenerationStep, GenerationView, HistoryEntry, ProofResult, StepProgress } from '../../schemas/http-generations.ts'
 * @typedef {{ readonly text: string, readonly step: GenerationStep, readonly share?: number }} StepButton
 */

/** @type {readonly StepButton[]} */
const buttons = [
  { text: 'Pause', step: 'pause' },
  { text: 'Resume', step: 'resume' },
  { text: 'Verify', step: 'verify' },
  { text: 'Run the canary', step: 'canary' },
  ...[0.05, 0.5, 1].map(share => /** @type {StepButton} */ ({ text: percent(share), step: 'route', share })),
  { text: 'Undo', step: 'rollback' },
  { text: 'Retire', step: 'retire' },
]
/** Steps of which it is said what they lack. */
const names = new Map([
  ['verify', 'Verify'],
  ['canary', 'The canary'],
  ['route', 'Queries'],
  ['rollback', 'Undo'],
  ['retire', 'Retire'],
])

/**
 * @typedef {object} CardListener
 * @property {(id: string, button: StepButton) => void} chosen a step is wanted
 * @property {(id: string, digest: string) => void} evidenceWanted
 * @property {(id: string) => Promise<readonly HistoryEntry[]>} historyOf
 */

/** One generation: its life, how far it is, what was proven of it, what may be done with it. */
export class GenerationCard {
  element
  #id
  #listener
  #subtitle = element('p', { class: 'quiet' })
  #life = new ChangingPart('ol', 'life')
  #rebuild = new ChangingPart('div', 'rebuild')
  #figures = new ChangingPart('dl', 'figures')
  #proofs = new ChangingPart('ul', 'proofs')
  #missing = new ChangingPart('ul', 'missing quiet')
  #running = element('div', { class: 'proving', attributes: { role: 'status' } })
  #history = new ChangingPart('ul', 'history')
  #isHistoryOpen = false
  /** What the history was last read for. */
  #lastStep = ''
  /** @type {readonly (StepButton & { readonly element: HTMLButtonElement })[]} */
  #buttons

  /**
   * @param {string} id
   * @param {CardListener} listener
   */
  constructor(id, listener) {
    this.#id = id
    this.#listener = listener
    this.#buttons = buttons.map(button => ({ ...button, element: this.#newButton(button) }))
    const history = element(
      'details',
      {
        class: 'generation-history',
        attributes: { 'aria-label': `History of ${id}` },
        on: { toggle: ({ target }) => this.#openHistory(target.open) },
      },
      element('summary', { text: 'History' }),
      this.#history.element,
    )
    const shares = this.#buttons.filter(({ step }) => step === 'route')
    const others = this.#buttons.filter(({ step }) => step !== 'route')
    this.element = element(
      'article',
      { class: 'generation', attributes: { 'aria-label': `Generation ${id}` } },
      element('div', { class: 'generation-head' }, element('h2', { text: id }), this.#subtitle),
      this.#life.element,
      this.#rebuild.element,
      this.#figures.element,
      this.#proofs.element,
      element(
        'div',
        { class: 'generation-steps' },
        ...others.slice(0, 4).map(each => each.element),
        element(
          'fieldset',
          { class: 'shares', attributes: { 'aria-label': `Queries of ${id}` } },
          element('span', { class: 'quiet', text: 'Queries', attributes: { 'aria-hidden': true } }),
          ...shares.map(each => each.element),
        ),
        ...others.slice(4).map(each => each.element),
      ),
      this.#running,
      this.#missing.element,
      history,
    )
  }

  /** @param {GenerationView} generation */
  show(generation) {
    const { state, steps, rebuild, certificate, canary, share } = generation
    this.#subtitle.textContent = subtitle(generation)
    this.#life.show(state, lifeLine)
    this.#rebuild.show(isBuilding(generation) ? rebuild : null, rebuildProgress)
    this.#figures.show(generation, figures)
    this.#proofs.show({ certificate, canary }, told => [
      proofLine('Certificate', told.certificate, digest => this.#listener.evidenceWanted(this.#id, digest)),
      proofLine('Canary', told.canary, digest => this.#listener.evidenceWanted(this.#id, digest)),
    ])
    for (const button of this.#buttons) {
      const found = steps.find(({ step }) => step === button.step)
      const isForced = found?.mayForce === true
      button.element.disabled = found?.allowed !== true && !isForced
      // What it lacks is asked about before it is taken.
      button.element.classList.toggle('lacking', isForced)
      button.element.hidden = isOutOfPlace(button.step, generation)
      button.element.title = found?.missing.join('; ') ?? ''
      if (button.share !== undefined)
        button.element.setAttribute('aria-pressed', String(Math.abs(share - button.share) < 1e-9))
    }
    this.#missing.show(steps, told => missingLines(told, names))
    const lastStep = `${state} ${share} ${rebuild.phase} ${certificate?.digest} ${canary?.digest}`
    if (this.#isHistoryOpen && lastStep !== this.#lastStep) this.#readHistory()
    this.#lastStep = lastStep
  }

  /**
   * @param {string} what
   * @param {StepProgress | null} progress null before the first word of it
   * @param {() => void} cancel
   */
  showProving(what, progress, cancel) {
    const known = this.#running.querySelector('progress')
    const said = progress === null ? `${what}…` : `${what}: ${progress.done} of ${progress.total} ${progress.what}`
    if (known === null) {
      const button = element('button', {
        class: 'button small',
        text: 'Stop',
        attributes: { type: 'button' },
        on: { click: cancel },
      })
      const bar = element('progress', { attributes: { 'aria-label': what } })
      this.#running.replaceChildren(bar, element('p', { class: 'quiet', text: said }), button)
    } else {
      if (progress !== null && progress.total > 0) {
        known.max = progress.total
        known.value = progress.done
      }
      const line = this.#running.querySelector('p')
      if (line !== null) line.textContent = said
    }
  }

  /** @param {ProofResult | null} result null: it was stopped or failed */
  showVerdict(result) {
    if (result === null) return this.#running.replaceChildren()
    const { passed, summary, reasons, measures, digest } = result
    this.#running.replaceChildren(
      element('p', {
        class: passed ? 'verdict good' : 'verdict bad',
        text: passed ? `Passed: ${summary}` : `Not passed${reasons.length === 0 ? `: ${summary}` : ''}`,
      }),
      ...(reasons.length === 0
        ? []
        : [element('ul', { class: 'reasons' }, ...reasons.map(text => element('li', { text })))]),
      ...(measures.length === 0 ? [] : [measureTable(measures)]),
      element('p', { class: 'quiet digest', text: `Evidence ${digest}` }),
    )
  }

  /** @param {StepButton} button */
  #newButton(button) {
    return element('button', {
      class: 'button small',
      text: button.text,
      attributes: { type: 'button' },
      on: { click: () => this.#listener.chosen(this.#id, button) },
    })
  }

  /** @param {boolean} isOpen */
  #openHistory(isOpen) {
    this.#isHistoryOpen = isOpen
    if (isOpen) this.#readHistory()
  }

  async #readHistory() {
    this.#history.show(await this.#listener.historyOf(this.#id), entries => entries.map(historyRow))
  }
}

/**
 * @param {GenerationStep} step
 * @param {GenerationView} generation
 */
function isOutOfPlace(step, generation) {
  if (step !== 'pause' && step !== 'resume') return false
  return !isBuilding(generation) || (step === 'pause') === (generation.rebuild.phase === 'paused')
}
