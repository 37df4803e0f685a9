import { element, pageElement } from './element.js'
import { historyPoints, LiveHistory } from './live-history.js'
import { arrivalRow, counts, generationRow, row, section, shardSection } from './live-rows.js'
import { sparkline } from './sparkline.js'
import { age, count, counted, rate } from './wording.js'

/** @import { LiveEvent, Status } from '../../schemas/http-operations.ts' */

const behindMs = 5000
const recentRows = 5
/** From so many waiting items, and such a share of all, a catalogue is coming in; less are everyday changes. */
const indexingFloor = 10
const indexingShare = 0.02
/** It is in when no more than this share waits. */
const indexedShare = 0.002

/** How fresh the index is: the short line in the bar, the progress while a catalogue comes in, and the panel behind. */
export class LivePanel {
  #pill = pageElement('freshness', HTMLButtonElement)
  #pillText = pageElement('freshness-text', HTMLElement)
  #indexing = pageElement('indexing', HTMLElement)
  #indexingText = pageElement('indexing-text', HTMLElement)
  #indexingProgress = pageElement('indexing-progress', HTMLProgressElement)
  #panel = pageElement('live', HTMLElement)
  #stale = pageElement('live-stale', HTMLElement)
  #body = pageElement('live-body', HTMLElement)
  #history = new LiveHistory()
  /** @type {LiveEvent | null} */
  #news = null
  /** Made anew only when its rows change, so that pictures do not flicker. @type {HTMLElement | null} */
  #recent = null
  #newestAtMs = 0
  #isIndexing = false

  constructor() {
    this.#panel.addEventListener('toggle', () => this.#renderPanel())
  }

  /** @param {LiveEvent} news */
  show(news) {
    this.#news = news
    const newest = news.recent[0]
    if (newest !== undefined && newest.atMs !== this.#newestAtMs) {
      this.#newestAtMs = newest.atMs
      this.#recent = section('Searchable last', news.recent.slice(0, recentRows).map(arrivalRow))
    }
    this.#history.add(news.status)
    const { ready, items, indexAgeMs } = news.status
    this.#pill.classList.remove('offline')
    this.#pill.classList.toggle('behind', !ready || indexAgeMs > behindMs)
    this.#pillText.textContent = `${counted(items.searchable, 'product')} · ${age(indexAgeMs)} old`
    this.#stale.hidden = true
    this.#showIndexing(items)
    this.#renderPanel()
  }

  /** @param {string} short why nothing is heard, in two words */
  showLost(short) {
    this.#pill.classList.add('offline')
    this.#pillText.textContent = short
    this.#indexing.hidden = true
    this.#stale.textContent =
      this.#news === null ? 'Nothing is known yet.' : 'These figures are the last that were heard.'
    this.#stale.hidden = false
  }

  /** @param {Status['items']} items */
  #showIndexing({ searchable, pending, failed }) {
    const total = searchable + pending + failed
    const begins = pending >= indexingFloor && pending > total * indexingShare
    this.#isIndexing = begins || (this.#isIndexing && pending > total * indexedShare)
    this.#indexing.hidden = !this.#isIndexing
    this.#indexingText.textContent = `Indexing the catalogue: ${count(searchable)} of ${counted(total, 'product')} can be found`
    this.#indexingProgress.max = total
    this.#indexingProgress.value = searchable + failed
  }

  #renderPanel() {
    if (this.#news === null || !this.#panel.matches(':popover-open')) return
    const { status } = this.#news
    const shown = [
      this.#figures(status),
      counts(status),
      section(
        'Needs attention',
        status.pipeline.alarms.map(({ message }) => row('bad', message, '')),
      ),
      section('Generations', status.generations.map(generationRow)),
      shardSection(status),
      this.#recent,
    ]
    this.#body.replaceChildren(...shown.filter(part => part !== null))
  }

  /** @param {Status} status */
  #figures({ indexAgeMs, rates }) {
    const span = age(this.#history.spanSeconds * 1000)
    return element(
      'div',
      { class: 'live-figures' },
      figure({
        name: 'Index age',
        value: age(indexAgeMs),
        note: 'oldest event not yet searchable',
        line: sparkline(this.#history.values('indexAgeMs'), {
          points: historyPoints,
          label: `Index age over the last ${span}: at most ${age(Math.max(0, ...this.#history.values('indexAgeMs')))}`,
        }),
      }),
      figure({
        name: 'Searchable',
        value: `${rate(rates.searchable ?? 0)}/s`,
        note: `${rate(rates.accepted ?? 0)} events/s accepted · ${rate(rates.searches ?? 0)} searches/s`,
        line: sparkline(this.#history.values('searchable'), {
          points: historyPoints,
          label: `Items becoming searchable over the last ${span}: at most ${rate(Math.max(0, ...this.#history.values('searchable')))} a second`,
        }),
      }),
      element('p', { class: 'quiet live-span', text: `Lines: the last ${span}` }),
    )
  }
}

/** @param {{ name: string, value: string, note: string, line: SVGElement }} shown */
function figure({ name, value, note, line }) {
  return element(
    'div',
    { class: 'live-figure' },
    element('h3', { text: name }),
    element('p', { class: 'live-value', text: value }),
    line,
    element('p', { class: 'quiet', text: note }),
  )
}
