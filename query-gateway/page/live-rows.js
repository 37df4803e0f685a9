import { element } from './element.js'
import { productPicture } from './picture.js'
import { age, count, counted } from './wording.js'

/**
 * @import { LiveEvent, Status } from '../../schemas/http-operations.ts'
 * @typedef {Status['shards'][number]['replicas'][number]} Replica
 */

/** @param {Status} status */
export function counts({ items, pipeline }) {
  const { live, standby, backfill } = pipeline.queue
  const figures = /** @type {const} */ ([
    ['Searchable', items.searchable, false],
    ['Pending', items.pending, false],
    ['Queued', live + standby + backfill, false],
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
export function generationRow({ id, model, state, share }) {
  return row(share > 0 ? 'good' : '', `${id} · model ${model}`, `${state}, ${Math.round(share * 100)} % of queries`)
}

/**
 * Each replica with what it serves: its generation, and the model that made its vectors.
 * @param {Status} status
 */
export function shardSection({ shards, generations }) {
  const models = new Map(generations.map(({ id, model }) => [id, model]))
  const replicas = shards.flatMap(({ replicas }) => replicas)
  const ready = replicas.filter(({ state }) => state === 'ready').length
  const title = `Shards: ${ready} of ${counted(replicas.length, 'replica')} ready`
  const rows = shards.flatMap(({ shard, replicas }) =>
    replicas.map(replica => replicaRow(shard, replica, models.get(replica.generation))),
  )
  return section(title, rows)
}

/**
 * @param {number} shard
 * @param {Replica} replica
 * @param {string | undefined} model
 */
function replicaRow(shard, { id, generation, state, rows, indexAgeMs, searchMs, reason }, model) {
  const tone = state === 'ready' ? 'good' : state === 'starting' || state === 'catching-up' ? '' : 'bad'
  const made = `generation ${generation}${model === undefined ? '' : ` · model ${model}`}`
  const searches = searchMs.count === 0 ? '' : ` · p50 ${searchMs.p50.toFixed(1)} ms`
  const facts = state === 'ready' ? `${counted(rows, 'row')} · ${age(indexAgeMs)} old${searches}` : (reason ?? '')
  return element(
    'li',
    { class: 'live-row replica' },
    element('span', { class: `dot ${tone}` }),
    element(
      'span',
      {},
      element('span', { class: 'replica-name', text: `Shard ${shard} · ${id}` }),
      element('span', { class: 'quiet replica-facts', text: made }),
      facts === '' ? null : element('span', { class: 'quiet replica-facts', text: facts }),
    ),
    element('span', { class: `state ${tone}`, text: state.replace('-', ' ') }),
  )
}

/** @param {LiveEvent['recent'][number]} arrival */
export function arrivalRow({ itemId, title, blob, atMs }) {
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
export function row(tone, name, facts) {
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
export function section(title, rows) {
  if (rows.length === 0) return null
  return element('section', {}, element('h3', { text: title }), element('ul', { class: 'live-rows' }, ...rows))
}
