/** How figures and failures are said to people. */

const whole = new Intl.NumberFormat()
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 })
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

/** @param {string} code one of an answer's `degraded` codes */
export function degradation(code) {
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
  ['not-ready', 'It is starting. Try again in a moment.'],
  ['timeout', 'Try again.'],
])

/** @param {{ code: string, retryable: boolean }} error */
export function whatToDo({ code, retryable }) {
  return advice.get(code) ?? (retryable ? 'Try again.' : 'Choose another photo.')
}
