import { detect, search, searchUpload } from './api.js'
import { preparePhoto } from './photo.js'
import { ApiError } from './request.js'

/**
 * @import { DetectAnswer, Filter, SearchAnswer } from '../../schemas/http-search.ts'
 * @import { Box } from './box.js'
 * @import { Photo } from './photo.js'
 */

/**
 * @typedef {{ readonly itemId: string, readonly title: string, readonly blob: string | null }} Product
 * @typedef {{ kind: 'photo', readonly photo: Photo, detection: DetectAnswer | null }} PhotoSubject
 * @typedef {{ kind: 'product', readonly product: Product }} ProductSubject
 * @typedef {PhotoSubject | ProductSubject} Subject what is searched with
 * @typedef {{ kind: 'salient' } | { kind: 'object', object: number } | { kind: 'box', box: Box }} Selection what of it;
 *   salient leaves the choice to the server
 * @typedef {{ readonly subject: Subject, selection: Selection }} Entry a search a person can come back to
 */

/**
 * @typedef {object} Found
 * @property {SearchAnswer} answer
 * @property {boolean} hasMore
 * @property {Filter | undefined} filter it was asked with
 * @property {string} about what was searched, to tell from other searches
 */

/**
 * @typedef {object} SessionListener
 * @property {(entry: Entry) => void} entered a search begins that the back button should find again
 * @property {(subject: Subject) => void} opened it can be shown
 * @property {(detection: DetectAnswer) => void} detected
 * @property {(selection: Selection) => void} searching
 * @property {(found: Found) => void} answered
 * @property {(error: ApiError) => void} refused the photo could not be opened; what was shown before still stands
 * @property {(error: ApiError) => void} failed the search in view has no answer
 */

const firstResults = 24
const mostResults = 200

/**
 * One person's search: a photo or a product, a part of it, an answer. A new request takes the place of the one under
 * way, whose answer is then never shown.
 *
 * preparing → detecting → searching → answered; every step can fail, and `retry` takes up at the step that did.
 */
export class SearchSession {
  #listener
  #filter
  /** @type {Entry | null} */
  #entry = null
  #k = firstResults
  #running = new AbortController()
  /** A photo is on its way that is not in view yet. */
  #isOpening = false
  /** @type {() => void} */
  #lastStep = () => {}

  /**
   * @param {SessionListener} listener
   * @param {() => Filter | undefined} filter asked at each search
   */
  constructor(listener, filter) {
    this.#listener = listener
    this.#filter = filter
  }

  retry() {
    this.#lastStep()
  }

  /** @param {Blob} file */
  openPhoto(file) {
    this.#run(async signal => {
      this.#isOpening = true
      const photo = await preparePhoto(file)
      signal.throwIfAborted()
      /** @type {PhotoSubject} */
      const subject = { kind: 'photo', photo, detection: null }
      // one that this browser cannot show may be no photo at all: the server has to tell before the view changes
      if (photo.size !== null) this.#enter({ subject, selection: { kind: 'salient' } })
      subject.detection = await detect(photo.upload, signal)
      if (photo.size === null) this.#enter({ subject, selection: { kind: 'salient' } })
      this.#listener.detected(subject.detection)
      await this.#search(signal)
    })
  }

  /** @param {Product} product */
  openProduct(product) {
    this.#run(async signal => {
      this.#enter({ subject: { kind: 'product', product }, selection: { kind: 'salient' } })
      await this.#search(signal)
    })
  }

  /**
   * Comes back to an earlier search.
   * @param {Entry} entry
   */
  restore(entry) {
    this.#run(async signal => {
      this.#open(entry)
      const { subject } = entry
      if (subject.kind === 'photo') {
        subject.detection ??= await detect(subject.photo.upload, signal)
        this.#listener.detected(subject.detection)
      }
      await this.#search(signal)
    })
  }

  /** @param {Selection} selection */
  select(selection) {
    if (this.#entry === null) return
    this.#entry.selection = selection
    this.#k = firstResults
    this.#run(signal => this.#search(signal))
  }

  /** Searches again, after the filter changed. */
  refresh() {
    if (this.#entry === null) return
    this.#k = firstResults
    this.#run(signal => this.#search(signal))
  }

  showMore() {
    this.#k = Math.min(mostResults, this.#k * 2)
    this.#run(signal => this.#search(signal))
  }

  /** Nothing is searched any more; an answer under way is dropped. */
  close() {
    this.#running.abort()
    this.#entry = null
  }

  /** @param {(signal: AbortSignal) => Promise<void>} step */
  #run(step) {
    this.#running.abort()
    this.#running = new AbortController()
    this.#isOpening = false
    const { signal } = this.#running
    this.#lastStep = () => this.#run(step)
    step(signal).catch(error => {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      if (this.#isOpening) this.#listener.refused(error)
      else this.#listener.failed(error)
    })
  }

  /** @param {Entry} entry */
  #enter(entry) {
    this.#listener.entered(entry)
    this.#open(entry)
  }

  /** @param {Entry} entry */
  #open(entry) {
    this.#entry = entry
    this.#isOpening = false
    this.#k = firstResults
    this.#listener.opened(entry.subject)
  }

  /** @param {AbortSignal} signal */
  async #search(signal) {
    if (this.#entry === null) return
    const { subject, selection } = this.#entry
    this.#listener.searching(selection)
    const filter = this.#filter()
    const answer = await this.#answer(subject, selection, { filter, signal })
    const hasMore = answer.results.length === this.#k && this.#k < mostResults
    this.#listener.answered({ answer, hasMore, filter, about: aboutOf(subject, answer) })
  }

  /**
   * @param {Subject} subject
   * @param {Selection} selection
   * @param {{ readonly filter: Filter | undefined, readonly signal: AbortSignal }} options
   * @returns {Promise<SearchAnswer>}
   */
  async #answer(subject, selection, options) {
    try {
      return await this.#ask(subject, selection, options)
    } catch (error) {
      const isRefused = error instanceof ApiError && error.code === 'bad-request'
      const before = subject.kind === 'photo' ? subject.detection : null
      if (!isRefused || subject.kind !== 'photo' || before === null) throw error
      // the generation whose objects are shown was retired: another looks at the photo
      const detection = await detect(subject.photo.upload, options.signal)
      if (detection.generation === before.generation) throw error
      subject.detection = detection
      this.#listener.detected(detection)
      const same = asBox(selection, before)
      if (this.#entry !== null) this.#entry.selection = same
      return this.#ask(subject, same, options)
    }
  }

  /**
   * @param {Subject} subject
   * @param {Selection} selection
   * @param {{ readonly filter: Filter | undefined, readonly signal: AbortSignal }} options
   * @returns {Promise<SearchAnswer>}
   */
  async #ask(subject, selection, { filter, signal }) {
    const query = { k: this.#k, facets: true, ...(filter && { filter }) }
    if (subject.kind === 'product') {
      const { itemId } = subject.product
      return search({ ...query, image: { itemId }, excludeItemId: itemId }, signal)
    }
    const { photo, detection } = subject
    const chosen = { ...query, ...partOf(selection, detection) }
    const blob = detection?.image.blob ?? null
    if (blob === null) return searchUpload(photo.upload, chosen, signal)
    try {
      return await search({ ...chosen, image: { blob } }, signal)
    } catch (error) {
      // the server may drop pictures that no product needs
      if (error instanceof ApiError && error.code === 'blob-not-found')
        return searchUpload(photo.upload, chosen, signal)
      throw error
    }
  }
}

/**
 * @param {Subject} subject
 * @param {SearchAnswer} answer
 */
function aboutOf(subject, { searched }) {
  const whole = subject.kind === 'photo' ? subject.photo.address : subject.product.itemId
  return `${whole} ${searched.box?.join(' ') ?? ''}`
}

/**
 * What was chosen, whoever looks at the photo.
 * @param {Selection} selection
 * @param {DetectAnswer} detection that it was chosen from
 * @returns {Selection}
 */
function asBox(selection, { objects }) {
  const box = selection.kind === 'object' ? objects[selection.object]?.box : undefined
  return box === undefined ? selection : { kind: 'box', box }
}

/**
 * @param {Selection} selection
 * @param {DetectAnswer | null} detection whose objects were shown: an index is good for its generation only
 */
function partOf(selection, detection) {
  const pinned = detection === null ? {} : { generation: detection.generation }
  switch (selection.kind) {
    case 'salient':
      return pinned
    case 'object':
      return { ...pinned, object: selection.object }
    case 'box':
      return { box: selection.box }
  }
}
