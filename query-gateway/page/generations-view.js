import { BuildDialog } from './build-dialog.js'
import { ChangingPart } from './changing-part.js'
import { element, pageElement } from './element.js'
import { showEvidence } from './evidence-dialog.js'
import { GenerationCard } from './generation-card.js'
import { percent, subtitle } from './generation-facts.js'
import { evidence, generation, generations, prove, quality, takeStep } from './generations-api.js'
import { ProblemNote } from './problem.js'
import { qualityCurves } from './quality-curves.js'
import { ApiError } from './request.js'
import { askReason, questionOf } from './step-dialog.js'

/**
 * @import { GenerationView, StepProgress } from '../../schemas/http-generations.ts'
 * @import { StepButton } from './generation-card.js'
 */

/** Keys may be bounded in their requests a minute. */
const lookEveryMs = 2_000
/** The curves have a point every ten seconds. */
const qualityEveryLooks = 5

/** Generations as operators handle them. While the view is shown, it looks at them every two seconds. */
export class GenerationsView {
  #list = pageElement('generation-list', HTMLElement)
  #retired = new ChangingPart('ul', 'retired-list quiet')
  #retiredPart = pageElement('retired', HTMLDetailsElement)
  #quality = pageElement('quality', HTMLElement)
  #curves = pageElement('quality-body', HTMLElement)
  #problem = new ProblemNote(pageElement('generations-problem', HTMLElement))
  #stepProblem = new ProblemNote(pageElement('step-problem', HTMLElement))
  /** @type {Map<string, GenerationCard>} */
  #cards = new Map()
  /** @type {readonly GenerationView[]} */
  #known = []
  #looks = 0
  #isShown = false
  #visit = 0
  #isFailing = false
  #build = new BuildDialog(() => this.#look())

  constructor() {
    this.#retiredPart.append(this.#retired.element)
    pageElement('build-open', HTMLButtonElement).addEventListener('click', () => this.#build.open(this.#known))
  }

  async open() {
    const visit = ++this.#visit
    this.#isShown = true
    // who comes back soon finds the looks of the visit before still waiting for their turn
    while (this.#isShown && this.#visit === visit) {
      await this.#look()
      await new Promise(resolve => setTimeout(resolve, lookEveryMs))
    }
  }

  /** It looks no more; what is being proven goes on. */
  close() {
    this.#isShown = false
    this.#problem.clear()
    this.#isFailing = false
  }

  async #look() {
    // a person decides about what failed, and a page that nobody sees asks nothing
    if (this.#isFailing || document.hidden) return
    try {
      const [known, curves] = await Promise.all([
        generations(),
        this.#looks++ % qualityEveryLooks === 0 ? quality() : null,
      ])
      if (!this.#isShown) return
      this.#show(known)
      if (curves === null) return
      const shown = qualityCurves(curves)
      this.#quality.hidden = shown.length === 0
      this.#curves.replaceChildren(...shown)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.#isFailing = this.#isShown
      if (this.#isShown) this.#problem.show(error, () => this.#lookAgain())
    }
  }

  #lookAgain() {
    this.#isFailing = false
    this.#problem.hide()
    this.#look()
  }

  /** @param {readonly GenerationView[]} known */
  #show(known) {
    this.#problem.clear()
    this.#known = known
    const open = known.filter(({ state }) => state !== 'retired').toReversed()
    for (const [id, card] of this.#cards)
      if (!open.some(each => each.id === id)) {
        card.element.remove()
        this.#cards.delete(id)
      }
    for (const [at, each] of open.entries()) {
      const card = this.#cardOf(each.id)
      card.show(each)
      // what is in its place is not moved: it may have the focus
      const there = this.#list.children[at] ?? null
      if (there !== card.element) this.#list.insertBefore(card.element, there)
    }
    const retired = known.filter(({ state }) => state === 'retired')
    this.#retiredPart.hidden = retired.length === 0
    this.#retired.show(retired, told => told.map(each => element('li', { text: `${each.id} · ${subtitle(each)}` })))
  }

  /** @param {string} id */
  #cardOf(id) {
    const known = this.#cards.get(id)
    if (known !== undefined) return known
    const card = new GenerationCard(id, {
      chosen: (of, button) => this.#choose(of, button),
      evidenceWanted: (of, digest) => this.#try(async () => showEvidence(of, digest, await evidence(of, digest))),
      historyOf: async of => (await this.#try(() => generation(of)))?.history ?? [],
    })
    this.#cards.set(id, card)
    return card
  }

  /**
   * @param {string} id
   * @param {StepButton} button
   */
  async #choose(id, { step, share }) {
    const found = this.#known.find(each => each.id === id)?.steps.find(each => each.step === step)
    const lacking = found?.mayForce ? found.missing : []
    const reason = await askReason(questionOf(step, id, share === undefined ? '' : percent(share)), lacking)
    if (reason === null) return
    const without = lacking.length === 0 ? {} : step === 'route' ? { override: reason } : { force: true }
    if (step === 'verify' || step === 'canary') await this.#prove(id, step, reason)
    else await this.#try(() => takeStep(id, step, { reason, ...(share !== undefined && { share }), ...without }))
    await this.#look()
  }

  /**
   * @param {string} id
   * @param {'verify' | 'canary'} step
   * @param {string} reason
   */
  async #prove(id, step, reason) {
    const card = this.#cardOf(id)
    const what = step === 'verify' ? 'Verifying' : 'Running the canary'
    await this.#try(async () => {
      const ending = new AbortController()
      const { signal } = ending
      const cancel = () => ending.abort()
      let result = null
      card.showVerdict(null)
      card.showProving(what, null, cancel)
      try {
        const progressed = (/** @type {StepProgress} */ progress) => card.showProving(what, progress, cancel)
        result = await prove(id, step, { reason, signal, progressed })
      } finally {
        card.showVerdict(result)
      }
    })
  }

  /**
   * @template Answer
   * @param {() => Promise<Answer>} work
   * @returns {Promise<Answer | null>} null when it failed, which is said, or was stopped
   */
  async #try(work) {
    this.#stepProblem.hide()
    try {
      const answer = await work()
      this.#stepProblem.clear()
      return answer
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') return null
      if (!(error instanceof ApiError)) throw error
      this.#stepProblem.show(error, () => this.#try(work))
      return null
    }
  }
}
