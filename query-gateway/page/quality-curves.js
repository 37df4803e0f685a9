import { element } from './element.js'
import { percent } from './generation-facts.js'
import { counted } from './wording.js'

/**
 * @import { GenerationQuality, Quality, QualityPoint } from '../../schemas/http-operations.ts'
 * @typedef {{ title: string, of: (point: QualityPoint) => number | null, weight: (point: QualityPoint) => number, say: (value: number) => string, leastTop: number }} Figure
 */

const namespace = 'http://www.w3.org/2000/svg'
const width = 240
const height = 64
/** More are not told apart. */
const mostLines = 3

/** @param {number} part @param {number} whole */
const share = (part, whole) => (whole === 0 ? null : part / whole)
/** @param {QualityPoint} point */
const searches = point => point.searches

/** @type {readonly Figure[]} */
const shown = [
  {
    title: '95 % took at most',
    of: point => point.p95Ms,
    weight: searches,
    say: ms => `${Math.round(ms)} ms`,
    leastTop: 10,
  },
  {
    title: 'Similarity of the best result',
    of: point => point.similarity,
    weight: point => point.searches - point.withoutResults,
    say: value => value.toFixed(2),
    leastTop: 0.05,
  },
  {
    title: 'Without results',
    of: point => share(point.withoutResults, point.searches),
    weight: searches,
    say: percent,
    leastTop: 0.02,
  },
  {
    title: 'Results chosen from',
    of: point => share(point.engaged, point.searches),
    weight: searches,
    say: percent,
    leastTop: 0.02,
  },
]

/**
 * How the searches of each generation went, side by side.
 * @param {Quality} quality
 * @returns {readonly HTMLElement[]} none without searches
 */
export function qualityCurves({ generations }) {
  const told = generations.filter(({ points }) => points.some(point => point.searches > 0)).slice(-mostLines)
  const times = told.flatMap(({ points }) => points.map(({ atMs }) => atMs))
  if (times.length === 0) return []
  const span = { from: Math.min(...times), to: Math.max(...times), compared: comparedFrom(told) }
  const charts = element('div', { class: 'curves' }, ...shown.map(figure => chart(figure, told, span)))
  if (told.length < 2) return [legend(told), charts]
  const since = new Date(span.compared).toLocaleTimeString()
  return [
    legend(told),
    charts,
    element('p', { class: 'quiet', text: `Figures: since ${since}, when all had searches` }),
  ]
}

/** The mornings of one are not to be held against the evenings of another. @param {readonly GenerationQuality[]} told */
function comparedFrom(told) {
  const firsts = told.map(({ points }) => points.find(point => point.searches > 0)?.atMs ?? 0)
  return Math.max(...firsts)
}

/** @param {readonly GenerationQuality[]} told */
function legend(told) {
  const entries = told.map(({ id, points }, at) => {
    const total = points.reduce((sum, point) => sum + point.searches, 0)
    const failed = points.reduce((sum, point) => sum + point.failed, 0)
    const facts = `${counted(total, 'search', 'searches')}${failed === 0 ? '' : `, ${counted(failed, 'failure')}`}`
    const sample = drawing(20, 8, '')
    sample.append(polyline('0,4 20,4', at))
    return element('li', {}, sample, element('span', { text: `${id}: ${facts}` }))
  })
  return element('ul', { class: 'curve-legend' }, ...entries)
}

/**
 * @param {Figure} figure
 * @param {readonly GenerationQuality[]} told
 * @param {{ readonly from: number, readonly to: number, readonly compared: number }} span
 */
function chart(figure, told, span) {
  const lines = told.map(({ id, points }) => {
    const compared = points.filter(({ atMs }) => atMs >= span.compared)
    return { id, mean: meanOf(figure, compared), dots: dotsOf(figure, points) }
  })
  const top = Math.max(figure.leastTop, ...lines.flatMap(({ dots }) => dots.map(({ value }) => value)))
  const said = lines.map(({ id, mean }) => `${id} ${mean === null ? 'none' : figure.say(mean)}`).join(', ')
  const svg = drawing(width, height, `${figure.title}: ${said}`)
  for (const [at, { dots }] of lines.entries()) svg.append(polyline(pathOf(dots, span, top), at))
  return element(
    'figure',
    { class: 'curve' },
    element('figcaption', {}, element('span', { text: figure.title }), element('span', { class: 'quiet', text: said })),
    svg,
    element('p', { class: 'quiet curve-scale', text: `0 to ${figure.say(top)}` }),
  )
}

/**
 * @param {Figure} figure
 * @param {readonly QualityPoint[]} points
 */
function dotsOf({ of }, points) {
  return points.flatMap(point => {
    const value = of(point)
    return value === null ? [] : [{ atMs: point.atMs, value }]
  })
}

/**
 * @param {Figure} figure
 * @param {readonly QualityPoint[]} points
 */
function meanOf({ of, weight }, points) {
  const known = points.filter(point => of(point) !== null)
  const total = known.reduce((sum, point) => sum + weight(point), 0)
  return share(
    known.reduce((sum, point) => sum + (of(point) ?? 0) * weight(point), 0),
    total,
  )
}

/**
 * A single dot is drawn over the whole width.
 * @param {readonly { readonly atMs: number, readonly value: number }[]} dots
 * @param {{ readonly from: number, readonly to: number }} span
 * @param {number} top
 */
function pathOf(dots, { from, to }, top) {
  const y = (/** @type {number} */ value) => (height - 1 - (value / top) * (height - 2)).toFixed(1)
  const [only] = dots
  if (dots.length === 1 && only !== undefined) return `0,${y(only.value)} ${width},${y(only.value)}`
  return dots
    .map(({ atMs, value }) => `${(((atMs - from) / Math.max(1, to - from)) * width).toFixed(1)},${y(value)}`)
    .join(' ')
}

/**
 * @param {number} wide
 * @param {number} high
 * @param {string} label empty: decoration
 */
function drawing(wide, high, label) {
  const svg = document.createElementNS(namespace, 'svg')
  svg.setAttribute('viewBox', `0 0 ${wide} ${high}`)
  svg.setAttribute('preserveAspectRatio', 'none')
  if (label === '') svg.setAttribute('aria-hidden', 'true')
  else {
    svg.setAttribute('role', 'img')
    svg.setAttribute('aria-label', label)
  }
  return svg
}

/**
 * @param {string} points
 * @param {number} at
 */
function polyline(points, at) {
  const line = document.createElementNS(namespace, 'polyline')
  line.setAttribute('points', points)
  line.setAttribute('class', `curve-line curve-line-${at}`)
  return line
}
