import { sendClick } from './api.js'
import { isWholePicture } from './box.js'
import { element, pageElement } from './element.js'
import { FilterBar } from './filter-bar.js'
import { PhotoStage } from './photo-stage.js'
import { clearProblem, showProblem } from './problem.js'
import { productPicture } from './product-picture.js'
import { ResultGrid } from './result-grid.js'
import { SearchSession } from './search-session.js'
import { age, counted, degradation } from './wording.js'

/**
 * @import { DetectAnswer, SearchAnswer, SearchResult } from '../../schemas/http-search.ts'
 * @import { ApiError } from './api.js'
 * @import { Entry, Product, Selection, Subject } from './search-session.js'
 */

/**
 * @typedef {object} SearchViewListener
 * @property {(entry: Entry) => void} entered a search begins that the back button should find again
 * @property {() => void} opened the view has something to show
 * @property {(error: ApiError) => void} refused the photo could not be opened
 */

/** The photo on one side, what was found on the other. */
export class SearchView {
  #listener
  #stageRoot = pageElement('stage', HTMLElement)
  #stageStatus = pageElement('stage-status', HTMLElement)
  #product = pageElement('product', HTMLElement)
  #drawBox = pageElement('draw-box', HTMLButtonElement)
  #whole = pageElement('search-whole', HTMLButtonElement)
  #count = pageElement('result-count', HTMLElement)
  #facts = pageElement('result-facts', HTMLElement)
  #warning = pageElement('result-warning', HTMLElement)
  #problem = pageElement('search-problem', HTMLElement)
  #showMore = pageElement('show-more', HTMLButtonElement)
  #madeUp = pageElement('made-up', HTMLElement)
  #filters
  #grid
  #stage
  #session
  #objectsFound = ''
  /** @type {SearchAnswer | null} */
  #answer = null

  /** @param {SearchViewListener} listener */
  constructor(listener) {
    this.#listener = listener
    this.#filters = new FilterBar(() => this.#session.refresh())
    this.#grid = new ResultGrid(pageElement('results', HTMLUListElement), (result, position) =>
      this.#follow(result, position),
    )
    this.#stage = new PhotoStage(this.#stageRoot, {
      objectChosen: object => this.#session.select({ kind: 'object', object }),
      boxDrawn: box => this.#session.select({ kind: 'box', box }),
      drawingChanged: isDrawing => this.#showDrawing(isDrawing),
    })
    this.#session = new SearchSession(
      {
        entered: entry => listener.entered(entry),
        opened: subject => this.#open(subject),
        detected: detection => this.#showObjects(detection),
        searching: selection => this.#showSearching(selection),
        answered: (answer, hasMore) => this.#show(answer, hasMore),
        refused: error => {
          this.#grid.settle()
          listener.refused(error)
        },
        failed: error => this.#fail(error),
      },
      () => this.#filters.filter,
    )
    this.#drawBox.addEventListener('click', () => this.#stage.toggleDrawing())
    this.#whole.addEventListener('click', () => this.#session.selectWhole())
    this.#showMore.addEventListener('click', () => this.#session.showMore())
  }

  /** @param {Blob} file */
  openPhoto(file) {
    this.#session.openPhoto(file)
  }

  /** @param {Product} product */
  openProduct(product) {
    this.#session.openProduct(product)
  }

  /** @param {Entry} entry */
  restore(entry) {
    this.#session.restore(entry)
  }

  retry() {
    this.#session.retry()
  }

  close() {
    this.#session.close()
  }

  /**
   * Where a photo was refused while this view shows another one.
   * @param {ApiError} error
   */
  showRefusal(error) {
    showProblem(this.#problem, error, () => this.#session.retry())
  }

  /** @param {Subject} subject */
  #open(subject) {
    const isPhoto = subject.kind === 'photo'
    this.#filters.dropCategories()
    this.#grid.clear()
    this.#grid.showLoading()
    this.#count.textContent = ''
    this.#facts.textContent = ''
    this.#stageRoot.hidden = !isPhoto
    this.#stageStatus.hidden = !isPhoto
    this.#drawBox.hidden = !isPhoto
    this.#whole.hidden = !isPhoto
    this.#product.hidden = isPhoto
    if (subject.kind === 'photo') {
      this.#stage.open(subject.photo.address, subject.photo.size)
      this.#stageRoot.classList.add('searching')
      this.#stageStatus.textContent = 'Looking for objects…'
    } else this.#showProduct(subject.product)
    this.#clearTrouble()
    this.#listener.opened()
  }

  /** @param {Product} product */
  #showProduct({ itemId, title, blob }) {
    const text = element('p', { class: 'quiet', text: 'Products that look like' })
    const name = element('h2', { text: title || itemId })
    this.#product.replaceChildren(productPicture(itemId, blob), element('div', {}, text, name))
  }

  /** @param {DetectAnswer} detection */
  #showObjects({ objects }) {
    this.#stageRoot.classList.remove('searching')
    this.#stage.showObjects(objects)
    this.#objectsFound =
      objects.length === 0
        ? 'No separate object was found, so the whole picture is searched. Draw a box to search a part of it.'
        : `${counted(objects.length, 'object')} found. Tap another one, or draw a box.`
    this.#stageStatus.textContent = this.#objectsFound
  }

  /** @param {Selection} selection */
  #showSearching(selection) {
    this.#clearTrouble()
    this.#grid.showLoading()
    if (selection.kind === 'box') this.#stage.show({ box: selection.box, object: null })
    if (selection.kind === 'object') this.#stage.choose(selection.object)
    this.#markWhole(selection.kind === 'box' && isWholePicture(selection.box))
  }

  /**
   * @param {SearchAnswer} answer
   * @param {boolean} hasMore
   */
  #show(answer, hasMore) {
    this.#answer = answer
    const { searched, results, coverage, freshness, timingMs } = answer
    if (searched.box !== null) this.#stage.show({ box: searched.box, object: searched.object })
    this.#markWhole(searched.object === null && searched.box !== null && isWholePicture(searched.box))
    this.#filters.learn(results.map(result => result.item))
    this.#grid.show(results)
    this.#count.textContent = results.length === 0 ? this.#nothingFound() : counted(results.length, 'result')
    const shards = `${coverage.answered} of ${counted(coverage.total, 'shard')}`
    this.#facts.textContent = `${Math.round(timingMs.total)} ms · ${shards} · index ${age(freshness.indexAgeMs)} old`
    this.#showMore.hidden = !hasMore
    this.#madeUp.hidden = !results.some(({ item }) => 'madeUp' in item.attributes)
    this.#showWarning(answer)
  }

  #nothingFound() {
    return this.#filters.filter === undefined
      ? 'Nothing found. The index may still be empty.'
      : 'Nothing found that passes the filters.'
  }

  /** @param {SearchAnswer} answer */
  #showWarning({ coverage, degraded }) {
    const isPart = coverage.answered < coverage.total
    this.#warning.hidden = !isPart && degraded.length === 0
    const reasons = [...new Set(degraded)].map(degradation).join(', ')
    const extent = isPart
      ? `Answered by ${coverage.answered} of ${counted(coverage.total, 'shard')}`
      : 'Not a full answer'
    this.#warning.textContent = `${extent}${reasons && `: ${reasons}`}. Some products may be missing.`
  }

  /** @param {ApiError} error */
  #fail(error) {
    this.#stageRoot.classList.remove('searching')
    this.#stageStatus.textContent = ''
    this.#grid.clear()
    this.#count.textContent = ''
    this.#facts.textContent = ''
    this.#showMore.hidden = true
    showProblem(this.#problem, error, () => this.#session.retry())
  }

  #clearTrouble() {
    clearProblem(this.#problem)
    this.#warning.hidden = true
    this.#showMore.hidden = true
  }

  /** @param {boolean} isWhole */
  #markWhole(isWhole) {
    this.#whole.setAttribute('aria-pressed', String(isWhole))
  }

  /** @param {boolean} isDrawing */
  #showDrawing(isDrawing) {
    this.#drawBox.setAttribute('aria-pressed', String(isDrawing))
    // the focus would be lost with the frame
    if (!isDrawing && this.#stageRoot.contains(document.activeElement)) this.#drawBox.focus()
    this.#stageStatus.textContent = isDrawing
      ? 'Drag over the photo, or move the frame with the arrow keys and press Enter.'
      : this.#objectsFound
  }

  /**
   * @param {SearchResult} result
   * @param {number} position
   */
  #follow({ itemId, item, object }, position) {
    if (this.#answer !== null) sendClick(this.#answer.queryId, itemId, position)
    this.#session.openProduct({ itemId, title: item.title, blob: item.blobs[object.image] ?? null })
  }
}
