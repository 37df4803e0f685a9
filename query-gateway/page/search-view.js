import { isWholePicture, wholePicture } from './box.js'
import { element, pageElement } from './element.js'
import { EngagementReport } from './engagement-report.js'
import { FilterBar } from './filter-bar.js'
import { PhotoStage } from './photo-stage.js'
import { productPicture } from './picture.js'
import { ProblemNote } from './problem.js'
import { ResultGrid } from './result-grid.js'
import { SearchSession } from './search-session.js'
import { age, counted, shortcomings } from './wording.js'

/**
 * @import { DetectAnswer, SearchAnswer } from '../../schemas/http-search.ts'
 * @import { ApiError } from './request.js'
 * @import { Entry, Found, Product, Selection, Subject } from './search-session.js'
 */

/**
 * @typedef {object} SearchViewListener
 * @property {(entry: Entry) => void} entered a search begins that the back button should find again
 * @property {() => void} opened the view has something to show
 * @property {(error: ApiError) => void} refused the photo could not be opened
 * @property {(product: Product) => boolean} saveToggled returns whether it is saved now
 * @property {(itemId: string) => boolean} isSaved
 * @property {(itemId: string) => boolean} isOwn published from this page
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
  #problem = new ProblemNote(pageElement('search-problem', HTMLElement))
  #showMore = pageElement('show-more', HTMLButtonElement)
  #madeUp = pageElement('made-up', HTMLElement)
  #filters
  #grid
  #stage
  #session
  #objectsFound = ''
  /** Of the answer in view. @type {EngagementReport | null} */
  #report = null

  /** @param {SearchViewListener} listener */
  constructor(listener) {
    this.#listener = listener
    this.#filters = new FilterBar(() => this.#session.refresh())
    this.#grid = new ResultGrid(pageElement('results', HTMLUListElement), {
      chosen: product => this.#session.openProduct(product),
      engaged: (action, itemId, position) => this.#report?.tell(action, itemId, position),
      saveToggled: listener.saveToggled,
      isSaved: listener.isSaved,
      isOwn: listener.isOwn,
    })
    this.#stage = new PhotoStage(this.#stageRoot, {
      objectChosen: object => this.#select({ kind: 'object', object }),
      boxDrawn: box => this.#select({ kind: 'box', box }),
      drawingChanged: isDrawing => this.#showDrawing(isDrawing),
    })
    this.#session = new SearchSession(
      {
        entered: entry => listener.entered(entry),
        opened: subject => this.#open(subject),
        detected: detection => this.#showObjects(detection),
        searching: selection => this.#showSearching(selection),
        answered: found => this.#show(found),
        refused: error => {
          this.#grid.settle()
          listener.refused(error)
        },
        failed: error => this.#fail(error),
      },
      () => this.#filters.filter,
    )
    this.#drawBox.addEventListener('click', () => this.#stage.toggleDrawing())
    this.#whole.addEventListener('click', () => this.#select({ kind: 'box', box: wholePicture }))
    this.#showMore.addEventListener('click', () => this.#session.showMore())
  }

  /** Categories of the products found so far. */
  get categories() {
    return this.#filters.categories
  }

  /** @param {Blob} file */
  openPhoto(file) {
    this.#session.openPhoto(file)
  }

  /** What is saved has changed elsewhere on the page. */
  showSaved() {
    this.#grid.showSaved()
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
    // a countdown would bring back what was left
    this.#problem.clear()
  }

  /**
   * Where a photo was refused while this view shows another one.
   * @param {ApiError} error
   */
  showRefusal(error) {
    this.#problem.show(error, () => this.#session.retry())
  }

  /** @param {Selection} selection */
  #select(selection) {
    this.#grid.forgetDismissed()
    this.#session.select(selection)
  }

  /** @param {Subject} subject */
  #open(subject) {
    const isPhoto = subject.kind === 'photo'
    this.#filters.startAnew()
    this.#grid.forgetDismissed()
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
    this.#objectsFound = objectsFound(objects.length)
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

  /** @param {Found} found */
  #show({ answer, hasMore, filter, about }) {
    this.#report = new EngagementReport(answer.queryId)
    this.#problem.clear()
    const { searched, results, facets } = answer
    if (searched.box !== null) this.#stage.show({ box: searched.box, object: searched.object })
    this.#markWhole(searched.object === null && searched.box !== null && isWholePicture(searched.box))
    if (facets !== undefined) this.#filters.learn(facets, filter, about)
    this.#grid.show(results)
    this.#count.textContent = results.length === 0 ? this.#nothingFound() : counted(results.length, 'result')
    this.#showFacts(answer)
    this.#showMore.hidden = !hasMore
    this.#madeUp.hidden = !results.some(({ item }) => 'madeUp' in item.attributes)
    const lacks = shortcomings(answer)
    this.#warning.textContent = lacks
    this.#warning.hidden = lacks === ''
  }

  /** @param {SearchAnswer} answer */
  #showFacts({ coverage, freshness, timingMs }) {
    const shards = `${coverage.answered} of ${counted(coverage.total, 'shard')}`
    this.#facts.textContent = `${Math.round(timingMs.total)} ms · ${shards} · index ${age(freshness.indexAgeMs)} old`
    const stages = Object.entries(timingMs).filter(([stage]) => stage !== 'total')
    this.#facts.title = stages.map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`).join(', ')
  }

  #nothingFound() {
    return this.#filters.filter === undefined
      ? 'Nothing found. The index may still be empty.'
      : 'Nothing found that passes the filters.'
  }

  /** @param {ApiError} error */
  #fail(error) {
    this.#stageRoot.classList.remove('searching')
    this.#stageStatus.textContent = ''
    this.#grid.clear()
    this.#count.textContent = ''
    this.#facts.textContent = ''
    this.#showMore.hidden = true
    this.#problem.show(error, () => this.#session.retry())
  }

  #clearTrouble() {
    this.#problem.hide()
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
}

/** @param {number} objects */
function objectsFound(objects) {
  if (objects === 0)
    return 'No separate object was found, so the whole picture is searched. Draw a box to search a part of it.'
  if (objects === 1) return '1 object found. Draw a box to search another part of the photo.'
  return `${counted(objects, 'object')} found. Tap another one, or draw a box.`
}
