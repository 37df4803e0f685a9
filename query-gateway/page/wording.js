/** How figures and failures are said to people. */

const whole = new Intl.NumberFormat()
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 })
const hundredths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 })
const regionNames = new Intl.DisplayNames(undefined, { type: 'region', fallback: 'code' })

/** @param {number} value */
export function count(value) {
  return whole.format(value)
}

/**
 * @param {number} value
 * @param {string} singular
 * @param {string} [plural]
 */
export function counted(value, singular, plural = `${singular}s`) {
  return `${whole.format(value)} ${value === 1 ? singular : plural}`
}

/** @param {number} ms */
export function age(ms) {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 10) return `${tenths.format(seconds)} s`
  if (seconds < 120) return `${whole.format(Math.round(seconds))} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 120 ? `${whole.format(minutes)} min` : `${whole.format(Math.round(minutes / 60))} h`
}

/** Time that a person waited. @param {number} ms */
export function seconds(ms) {
  return `${(ms < 10_000 ? hundredths : tenths).format(Math.max(0, ms) / 1000)} s`
}

/** @param {number} perSecond */
export function rate(perSecond) {
  return perSecond < 10 && perSecond > 0 ? tenths.format(perSecond) : whole.format(Math.round(perSecond))
}

/**
 * @param {number | null} value
 * @param {string} currency ISO 4217 code, or empty
 * @returns {string} empty when the price is unknown
 */
export function price(value, currency) {
  if (value === null) return ''
  if (!/^[A-Z]{3}$/.test(currency)) return whole.format(value)
  return new Intl.NumberFormat(undefined, { style: 'currency', currency }).format(value)
}

/** @param {string} region */
export function regionName(region) {
  return /^[a-z]{2}$/i.test(region) ? (regionNames.of(region.toUpperCase()) ?? region) : region
}

const degradedWording = new Map([
  ['shard-timeout', 'part of the index was too slow'],
  ['shard-failed', 'part of the index failed'],
  ['shard-not-ready', 'part of the index is still starting'],
])
/** Codes of answers that have all products, in another order than they should. */
const unranked = new Set(['features-unavailable'])
/** Of answers that are whole, but of another generation than that of the session. */
const moved = 'generation-not-held'

/**
 * What an answer lacks, for people; empty when it lacks nothing.
 * @param {{ coverage: { readonly answered: number, readonly total: number }, degraded: readonly string[] }} answer
 */
export function shortcomings({ coverage, degraded }) {
  const missing = [...new Set(degraded)].filter(code => !unranked.has(code) && code !== moved).map(degradation)
  const isPart = coverage.answered < coverage.total
  const extent = isPart
    ? `Answered by ${coverage.answered} of ${counted(coverage.total, 'shard')}`
    : 'Not a full answer'
  const sentences = [
    isPart || missing.length > 0
      ? `${[extent, missing.join(', ')].filter(part => part !== '').join(': ')}. Some products may be missing.`
      : '',
    degraded.some(code => unranked.has(code)) ? 'Ordered by looks alone: what people chose is not known just now.' : '',
    degraded.includes(moved)
      ? 'Answered by another model than the last search: this server does not have that one.'
      : '',
  ]
  return sentences.filter(sentence => sentence !== '').join(' ')
}

/** @param {string} code one of an answer's `degraded` codes */
function degradation(code) {
  return degradedWording.get(code) ?? code.replaceAll('-', ' ')
}

const advice = new Map([
  ['image-format', 'Choose a JPEG, PNG, WebP, AVIF, GIF or TIFF photo.'],
  ['image-empty', 'The file is empty. Choose another photo.'],
  ['image-corrupt', 'Open the photo, save it again, or choose another one.'],
  ['image-too-large', 'Choose a smaller photo.'],
  ['image-too-many-pixels', 'Choose a smaller photo.'],
  ['body-too-large', 'Choose a smaller photo.'],
  ['heic-unsupported', 'Save it as JPEG, or open this page in Safari, which can read it.'],
  ['item-not-found', 'It was deleted from the catalogue. Choose another product.'],
  ['object-not-found', 'Draw a box around what you are looking for.'],
  ['unreachable', 'Check that the server runs and that you are online, then try again.'],
  ['overloaded', 'Wait a moment, then try again.'],
  ['rate-limited', 'This key has asked too often. Wait a moment.'],
  ['unauthenticated', 'Enter the key that whoever runs it has given you.'],
  ['forbidden', 'Ask whoever runs it for a key with this right.'],
  ['not-ready', 'It is starting or stopping. Try again in a moment.'],
  ['blob-store-full', 'Whoever runs it has to make room for pictures.'],
  ['storage-full', 'Whoever runs it has to make room on the disk.'],
  ['bad-item-id', 'Choose another item id.'],
  ['timeout', 'Try again.'],
  ['step-refused', 'What it lacks has to be there first.'],
  ['control-conflict', 'Look at the generations as they are now, then decide again.'],
  ['model-invalid', 'Mend the model, or choose another one.'],
])

/** Said instead of the server's own words, which are about its insides. */
const headlines = new Map([
  ['overloaded', 'The server is busy'],
  ['rate-limited', 'Too many requests'],
  ['not-ready', 'The index is not ready'],
])

/**
 * What went wrong, as a sentence.
 * @param {{ code: string, message: string }} error
 */
export function whatWentWrong({ code, message }) {
  const text = headlines.get(code) ?? message
  const capital = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(capital) ? capital : `${capital}.`
}

/** @param {{ code: string, retryable: boolean }} error */
export function whatToDo({ code, retryable }) {
  return advice.get(code) ?? (retryable ? 'Try again.' : 'Choose another photo.')
}
