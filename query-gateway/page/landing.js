import { ApiError, sample, samples } from './api.js'
import { element, pageElement } from './element.js'
import { clearProblem, showProblem } from './problem.js'

const sampleRequestMs = 10_000
const samplesShown = 6

/** The ways in: choosing, taking, dropping and pasting a photo anywhere on the page, and the demo's samples. */
export class Landing {
  #onPhoto
  #fileInput = pageElement('file-input', HTMLInputElement)
  #cameraInput = pageElement('camera-input', HTMLInputElement)
  #dropCover = pageElement('drop-cover', HTMLElement)
  #problem = pageElement('landing-problem', HTMLElement)

  /** @param {(photo: Blob) => void} onPhoto */
  constructor(onPhoto) {
    this.#onPhoto = onPhoto
    pageElement('choose-photo', HTMLButtonElement).addEventListener('click', () => this.choosePhoto())
    pageElement('take-photo', HTMLButtonElement).addEventListener('click', () => this.#cameraInput.click())
    for (const input of [this.#fileInput, this.#cameraInput])
      input.addEventListener('change', () => this.#chosen(input))
    document.addEventListener('paste', event => this.#take(event.clipboardData, event))
    document.addEventListener('dragover', event => this.#hover(event))
    document.addEventListener('dragleave', event => {
      if (event.relatedTarget === null) this.#dropCover.hidden = true
    })
    document.addEventListener('drop', event => {
      this.#dropCover.hidden = true
      this.#take(event.dataTransfer, event)
    })
  }

  choosePhoto() {
    this.#fileInput.click()
  }

  /**
   * @param {ApiError} error
   * @param {() => void} retry
   */
  showProblem(error, retry) {
    showProblem(this.#problem, error, retry)
  }

  clearProblem() {
    clearProblem(this.#problem)
  }

  /** Offers the demo's photos. Without a demo, or when they do not come, the page does without. */
  async offerSamples() {
    const addresses = await samples(AbortSignal.timeout(sampleRequestMs)).catch(() => [])
    const tiles = addresses.slice(0, samplesShown).map((address, place) => this.#sample(address, place))
    pageElement('sample-list', HTMLUListElement).replaceChildren(...tiles)
    pageElement('samples', HTMLElement).hidden = tiles.length === 0
  }

  /**
   * @param {string} address
   * @param {number} place
   */
  #sample(address, place) {
    const image = element('img', { attributes: { src: address, alt: '', width: 480, height: 320, draggable: 'false' } })
    const attributes = { type: 'button', 'aria-label': `Sample photo ${place + 1}` }
    const choose = () => this.#openSample(address)
    return element('li', {}, element('button', { class: 'sample', attributes, on: { click: choose } }, image))
  }

  /** @param {string} address */
  async #openSample(address) {
    try {
      this.#onPhoto(await sample(address, AbortSignal.timeout(sampleRequestMs)))
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.showProblem(error, () => this.#openSample(address))
    }
  }

  /** @param {HTMLInputElement} input */
  #chosen(input) {
    const [file] = input.files ?? []
    // the same file can be chosen again
    input.value = ''
    if (file !== undefined) this.#onPhoto(file)
  }

  /** @param {DragEvent} event */
  #hover(event) {
    if (!event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    this.#dropCover.hidden = false
  }

  /**
   * @param {DataTransfer | null} data
   * @param {Event} event
   */
  #take(data, event) {
    const [file] = data?.files ?? []
    if (file === undefined) return
    event.preventDefault()
    this.#onPhoto(file)
  }
}
