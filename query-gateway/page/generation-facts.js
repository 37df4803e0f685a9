import { element, icon } from './element.js'
import { age, count, counted, rate } from './wording.js'

/** @import { GenerationView, HistoryEntry, ProofResult } from '../../schemas/http-generations.ts' */

/** A generation's life, in order; the one that had queries goes back and forth between serving, active and standby. */
const life = /** @type {const} */ (['building', 'verifying', 'canary', 'serving', 'active', 'standby', 'retired'])

/** @param {GenerationView['state']} state */
export function lifeLine(state) {
  const now = life.indexOf(state)
  return life.map((name, at) =>
    element('li', {
      class: at < now ? 'past' : '',
      text: name,
      attributes: { 'aria-current': at === now ? 'step' : null },
    }),
  )
}

/** @param {GenerationView} generation */
export function subtitle({ model, dims, shards, from }) {
  const copied = from === null ? '' : ` · objects of ${from}`
  return `Model ${model} · ${dims} dimensions · ${counted(shards, 'shard')}${copied}`
}

/** @param {number} value 0 to 1 */
export function percent(value) {
  const hundred = value * 100
  return `${hundred > 0 && hundred < 10 ? Number(hundred.toFixed(1)) : Math.round(hundred)} %`
}

/** One that always had queries has caught up without anybody saying so. @param {GenerationView} generation */
export function isBuilding({ state, rebuild: { phase, done, total } }) {
  return phase !== 'caught-up' && (state === 'building' || done < total)
}

/** How far a rebuild is. @param {GenerationView['rebuild'] | null} rebuild null: it is over */
export function rebuildProgress(rebuild) {
  if (rebuild === null) return []
  const { phase, done, total, perSecond, etaMs, imagesPerSecond, throttledBy } = rebuild
  const facts = [
    phase === 'paused' ? 'Paused' : 'Building',
    `${count(done)} of ${counted(total, 'catalogue offset')}`,
    perSecond === null ? '' : `${rate(perSecond)}/s`,
    etaMs === null ? '' : `${age(etaMs)} left`,
    imagesPerSecond === 0 ? '' : `at most ${rate(imagesPerSecond)} pictures/s`,
    throttledBy === null ? '' : `held back: ${throttledBy}`,
  ]
  const progress = element('progress', {
    attributes: { max: Math.max(1, total), value: done, 'aria-label': 'Rebuild' },
  })
  return [progress, element('p', { class: 'quiet', text: facts.filter(fact => fact !== '').join(' · ') })]
}

/** @param {GenerationView} generation */
export function figures({ items, indexAgeMs, replicas, share }) {
  const isShort = replicas.ready < replicas.total || replicas.total === 0
  const shown = /** @type {const} */ ([
    ['Queries', percent(share), false],
    ['Searchable', count(items.searchable), false],
    ['Pending', count(items.pending), false],
    ['Failed', count(items.failed), items.failed > 0],
    ['Index age', indexAgeMs === null ? 'unknown' : age(indexAgeMs), indexAgeMs === null],
    ['Replicas', `${replicas.ready} of ${replicas.total} ready`, isShort],
  ])
  return shown.map(([name, value, isBad]) =>
    element('div', isBad ? { class: 'bad' } : {}, element('dt', { text: name }), element('dd', { text: value })),
  )
}

/**
 * What was proven of it.
 * @param {string} title
 * @param {GenerationView['certificate']} proof
 * @param {(digest: string) => void} open
 */
export function proofLine(title, proof, open) {
  if (proof === null)
    return element('li', {}, element('span', { class: 'dot' }), element('span', { text: `${title}: not yet` }))
  const { atMs, by, against, digest, summary } = proof
  const how = [against === null ? '' : `against ${against}`, `${moment(atMs)} by ${by}`]
  return element(
    'li',
    {},
    element('span', { class: 'dot good' }),
    element(
      'span',
      {},
      `${title}: ${summary === '' ? 'passed' : summary}`,
      element('span', { class: 'quiet proof-how', text: how.filter(part => part !== '').join(' · ') }),
    ),
    digest === ''
      ? null
      : element('button', {
          class: 'link digest',
          text: digest.slice(0, 8),
          attributes: { type: 'button', title: digest, 'aria-label': `${title}: evidence ${digest.slice(0, 8)}` },
          on: { click: () => open(digest) },
        }),
  )
}

/** @param {GenerationView['steps']} steps what their buttons do is told by `names` @param {ReadonlyMap<string, string>} names */
export function missingLines(steps, names) {
  return steps
    .filter(({ step, allowed }) => !allowed && names.has(step))
    .map(({ step, missing }) =>
      element(
        'li',
        {},
        element('strong', { text: names.get(step) ?? step }),
        ` lacks ${missing.length === 0 ? 'its turn' : missing.join('; ')}`,
      ),
    )
}

/** @param {ProofResult['measures']} measures */
export function measureTable(measures) {
  const names = [...new Set(measures.map(({ name }) => name))]
  const cell = (/** @type {string} */ name, /** @type {string} */ of) => {
    const found = measures.find(each => each.name === name && each.of === of)
    if (found === undefined) return element('td')
    const { value, bound, met } = found
    const said = value === null ? 'unknown' : Number(value.toPrecision(4)).toLocaleString()
    return element(
      'td',
      met === false ? { class: 'bad' } : {},
      said,
      bound === null
        ? null
        : element('span', { class: 'quiet bound', text: `${bound}${met === false ? ', not met' : ''}` }),
    )
  }
  const columns = ['candidate', 'reference', 'ratio']
  const head = ['Measure', ...columns].map(text => element('th', { text, attributes: { scope: 'col' } }))
  const rows = names.map(name =>
    element(
      'tr',
      {},
      element('th', { text: name, attributes: { scope: 'row' } }),
      ...columns.map(of => cell(name, of)),
    ),
  )
  return element(
    'div',
    { class: 'measures' },
    element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)),
  )
}

/** @param {HistoryEntry} entry */
export function historyRow({ summary, by, atMs, reason, rejected }) {
  return element(
    'li',
    rejected === null ? {} : { class: 'rejected' },
    icon(rejected === null ? 'check' : 'close'),
    element(
      'span',
      {},
      rejected === null ? summary : `${summary}: did not count, ${rejected}`,
      element('span', { class: 'quiet proof-how', text: `${moment(atMs)} · ${by}: ${reason}` }),
    ),
  )
}

/** @param {number} atMs */
function moment(atMs) {
  return new Date(atMs).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
}
