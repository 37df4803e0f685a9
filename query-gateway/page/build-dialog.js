import { element, pageElement } from './element.js'
import { build, models } from './generations-api.js'
import { ProblemNote } from './problem.js'
import { ApiError } from './request.js'
import { age, count, counted } from './wording.js'

/** @import { BuildEstimate, BuildRequest, GenerationView } from '../../schemas/http-generations.ts' */

const megabyte = 1_000_000

/** Asks what to build, says what it would cost, and begins it: editing → estimated → begun. */
export class BuildDialog {
  #dialog = pageElement('build-dialog', HTMLDialogElement)
  #model = pageElement('build-model', HTMLSelectElement)
  #from = pageElement('build-from', HTMLSelectElement)
  #name = pageElement('build-name', HTMLInputElement)
  #shards = pageElement('build-shards', HTMLInputElement)
  #rate = pageElement('build-rate', HTMLInputElement)
  #reason = pageElement('build-reason', HTMLInputElement)
  #estimate = pageElement('build-estimate', HTMLElement)
  #problem = new ProblemNote(pageElement('build-problem', HTMLElement))
  #begun

  /** @param {() => void} begun */
  constructor(begun) {
    this.#begun = begun
    pageElement('build-form', HTMLFormElement).addEventListener('submit', event => {
      event.preventDefault()
      this.#run(() => this.#build())
    })
    pageElement('build-cost', HTMLButtonElement).addEventListener('click', () => this.#run(() => this.#cost()))
    pageElement('build-cancel', HTMLButtonElement).addEventListener('click', () => this.#dialog.close())
  }

  /** @param {readonly GenerationView[]} generations */
  async open(generations) {
    this.#problem.clear()
    this.#estimate.replaceChildren()
    this.#reason.value = ''
    this.#dialog.showModal()
    const copied = generations.filter(({ state }) => state !== 'retired')
    this.#from.replaceChildren(
      option('', 'Embed everything'),
      ...copied.map(({ id, model }) => option(id, `Copy the objects of ${id} (model ${model})`)),
    )
    await this.#run(async () => {
      const known = await models()
      this.#model.replaceChildren(...known.map(({ model, dims }) => option(model, `${model} · ${dims} dimensions`)))
      const inUse = new Set(copied.map(({ model }) => model))
      const fresh = known.findLast(({ model }) => !inUse.has(model)) ?? known.at(-1)
      if (fresh !== undefined) this.#model.value = fresh.model
    })
  }

  async #cost() {
    const { id, estimate } = await build({ ...this.#request(), reason: this.#reason.value.trim() || '-', dryRun: true })
    this.#estimate.replaceChildren(...estimateLines(id, estimate).map(text => element('li', { text })))
  }

  async #build() {
    const reason = this.#reason.value.trim()
    if (reason === '') return this.#reason.focus()
    await build({ ...this.#request(), reason })
    this.#dialog.close()
    this.#begun()
  }

  /** @returns {Omit<BuildRequest, 'reason'>} */
  #request() {
    const from = this.#from.value
    const name = this.#name.value.trim()
    return {
      ...(from === '' ? { model: this.#model.value } : { from }),
      ...(name !== '' && { generation: name }),
      ...(this.#shards.value !== '' && { shards: this.#shards.valueAsNumber }),
      ...(this.#rate.value !== '' && { imagesPerSecond: this.#rate.valueAsNumber }),
    }
  }

  /** @param {() => Promise<void>} work */
  async #run(work) {
    this.#problem.hide()
    try {
      await work()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.#problem.show(error, () => this.#run(work))
    }
  }
}

/**
 * @param {string} id
 * @param {BuildEstimate} estimate
 */
function estimateLines(
  id,
  { items, toEmbed, msPerImage, workers, durationMs, diskBytes, diskFreeBytes, memoryBytes, notes },
) {
  const each = msPerImage === null ? '' : ` at ${msPerImage.toFixed(0)} ms on ${counted(workers, 'worker')}`
  const free = diskFreeBytes === null ? '' : `, ${megabytes(diskFreeBytes)} are free`
  return [
    `${id}: ${counted(items, 'item')}, ${counted(toEmbed, 'picture')} to embed${each}`,
    `About ${age(durationMs)}`,
    `${megabytes(diskBytes)} on disk${free}; ${megabytes(memoryBytes)} in memory`,
    ...notes,
  ]
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${count(Math.ceil(bytes / megabyte))} MB`
}

/**
 * @param {string} value
 * @param {string} text
 */
function option(value, text) {
  return element('option', { text, attributes: { value } })
}
