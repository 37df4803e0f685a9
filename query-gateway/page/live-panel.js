import { element, pageElement } from './element.js'
import { productPicture } from './product-picture.js'
import { age, count, counted, rate } from './wording.js'

/**
 * @import { LiveEvent, Status } from '../../schemas/http-operations.ts'
 * @typedef {Status['shards'][number]['replicas'][number]} Replica
 */

const behindMs = 5000
const sparklinePoints = 60
const sparklineWidth = 120
const sparklineHeight = 40
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
  #body = pageElement('live-body', HTMLElement)
  /** @type {LiveEvent | null} */
  #news = null
  /** Made anew only when its rows change, so that pictures do not flicker. @type {HTMLElement | null} */
  #recent = null
  #newestAtMs = 0
  /** Items per second that became searchable, oldest first. @type {number[]} */
  #rates = []
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
    this.#rates = [...this.#rates, news.status.rates.searchable ?? 0].slice(-sparklinePoints)
    const { ready, items, indexAgeMs } = news.status
    this.#pill.classList.remove('offline')
    this.#pill.classList.toggle('behind', !ready || indexAgeMs > behindMs)
    this.#pillText.textContent = `${counted(items.searchable, 'product')} · ${age(indexAgeMs)} old`
    this.#showIndexing(items)
    this.#renderPanel()
  }

  showOffline() {
    this.#pill.classList.add('offline')
    this.#pillText.textContent = 'Not connected'
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
      this.#age(status),
      counts(status),
      section('Generations', status.generations.map(generationRow)),
      section(
        'Shards',
        status.shards.flatMap(({ shard, replicas }) => replicas.map(replica => replicaRow(shard, replica))),
      ),
      section(
        'Needs attention',
        status.pipeline.alarms.map(({ message }) => row('bad', message, '')),
      ),
      this.#recent,
    ]
    this.#body.replaceChildren(...shown.filter(part => part !== null))
  }

  /** @param {Status} status */
  #age({ indexAgeMs, rates }) {
    return element(
      'div',
      { class: 'live-age' },
      element(
        'p',
        {},
        element('span', { class: 'live-age-figure', text: age(indexAgeMs) }),
        element('span', { class: 'quiet', text: ' old' }),
      ),
      element(
        'div',
        { class: 'live-rate' },
        sparkline(this.#rates),
        element('p', { class: 'quiet', text: `${rate(rates.accepted ?? 0)} events/s accepted` }),
        element('p', { class: 'quiet', text: `${rate(rates.searchable ?? 0)} items/s searchable` }),
      ),
    )
  }
}

/** @param {Status} status */
function counts({ items, pipeline }) {
  const figures = /** @type {const} */ ([
    ['Searchable', items.searchable, false],
    ['Pending', items.pending, false],
    ['Failed', items.failed, items.failed > 0],
    ['Dead letters', pipeline.deadLetters, pipeline.deadLetters > 0],
  ])
  const pairs = figures.map(([name, figure, isBad]) =>
    element(
      'div',
      isBad ? { class: 'bad' } : {},
      element('dt', { text: name }),
      element('dd', { text: count(figure) }),
    ),
  )
  return element('dl', { class: 'counts' }, ...pairs)
}

/** @param {Status['generations'][number]} generation */
function generationRow({ id, model, state, share }) {
  return row(share > 0 ? 'good' : '', `${id} · model ${model}`, `${state}, ${Math.round(share * 100)} % of queries`)
}

/**
 * @param {number} shard
 * @param {Replica} replica
 */
function replicaRow(shard, { id, state, rows, indexAgeMs, reason }) {
  const tone = state === 'ready' ? 'good' : state === 'starting' || state === 'catching-up' ? '' : 'bad'
  const facts = state === 'ready' ? `${counted(rows, 'row')} · ${age(indexAgeMs)} old` : (reason ?? state)
  return row(tone, `Shard ${shard} · ${id}`, facts)
}

/** @param {LiveEvent['recent'][number]} arrival */
function arrivalRow({ itemId, title, blob, atMs }) {
  const time = new Date(atMs).toLocaleTimeString()
  return element(
    'li',
    { class: 'live-row live-recent' },
    productPicture(itemId, blob),
    element('span', { text: title || itemId }),
    element('span', { class: 'quiet', text: time }),
  )
}

/**
 * @param {string} tone `good`, `bad` or empty for neither
 * @param {string} name
 * @param {string} facts
 */
function row(tone, name, facts) {
  return element(
    'li',
    { class: 'live-row' },
    element('span', { class: `dot ${tone}` }),
    element('span', { text: name }),
    element('span', { class: 'quiet', text: facts }),
  )
}

/**
 * @param {string} title
 * @param {readonly HTMLElement[]} rows
 * @returns {HTMLElement | null} null without rows
 */
function section(title, rows) {
  if (rows.length === 0) return null
  return element('section', {}, element('h3', { text: title }), element('ul', { class: 'live-rows' }, ...rows))
}

/** @param {readonly number[]} values oldest first */
function sparkline(values) {
  const namespace = 'http://www.w3.org/2000/svg'
  const highest = Math.max(1, ...values)
  const points = values.map((value, at) => {
    const x = sparklineWidth - ((values.length - 1 - at) * sparklineWidth) / (sparklinePoints - 1)
    return `${x.toFixed(1)},${(sparklineHeight - (value / highest) * sparklineHeight).toFixed(1)}`
  })
  const svg = document.createElementNS(namespace, 'svg')
  svg.setAttribute('class', 'sparkline')
  svg.setAttribute('viewBox', `0 0 ${sparklineWidth} ${sparklineHeight}`)
  svg.setAttribute('aria-hidden', 'true')
  const line = document.createElementNS(namespace, 'polyline')
  line.setAttribute('points', points.join(' '))
  svg.append(line)
  return svg
}
