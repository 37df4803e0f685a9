import { pictureFile, samples } from './api.js'
import { element, pageElement } from './element.js'
import { serverPicture } from './picture.js'
import { ProblemNote } from './problem.js'
import { ApiError } from './request.js'

const samplesShown = 6

/** The first view: the demo's sample photos, and what went wrong with a photo. */
export class Landing {
  #onPhoto
  #problem = new ProblemNote(pageElement('landing-problem', HTMLElement))

  /** @param {(photo: Blob) => void} onPhoto */
  constructor(onPhoto) {
    this.#onPhoto = onPhoto
  }

  /**
   * @param {ApiError} error
   * @param {() => void} retry
   */
  showProblem(error, retry) {
    this.#problem.show(error, retry)
  }

  clearProblem() {
    this.#problem.clear()
  }

  /** Offers the demo's photos. Without a demo, or when they do not come, the page does without. */
  async offerSamples() {
    const addresses = await samples().catch(() => [])
    const tiles = addresses.slice(0, samplesShown).map((address, place) => this.#sample(address, place))
    pageElement('sample-list', HTMLUListElement).replaceChildren(...tiles)
    pageElement('samples', HTMLElement).hidden = tiles.length === 0
  }

  /**
   * @param {string} address
   * @param {number} place
   */
  #sample(address, place) {
    const image = serverPicture(address, { width: 480, height: 320 })
    const attributes = { type: 'button', 'aria-label': `Sample photo ${place + 1}` }
    const choose = () => this.#openSample(address)
    return element('li', {}, element('button', { class: 'sample', attributes, on: { click: choose } }, image))
  }

  /** @param {string} address */
  async #openSample(address) {
    try {
      this.#onPhoto(await pictureFile(address))
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      this.showProblem(error, () => this.#openSample(address))
    }
  }
}
