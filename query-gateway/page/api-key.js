/**
 * The key that a server may ask for. It lives as long as the tab and goes nowhere but to the server that served this
 * page, as `Authorization: Bearer`.
 */

const storedAs = 'freshet-key'

/** @type {string | null} */
let key = readKey()
/** @type {((refusedOne: boolean) => Promise<string | null>) | null} */
let ask = null
/** @type {Promise<boolean> | null} */
let asking = null
let isDeclined = false

/**
 * Who asks a person for the key, null when that person does not give one.
 * @param {(refusedOne: boolean) => Promise<string | null>} prompt
 */
export function askForKeyWith(prompt) {
  ask = prompt
}

/** @returns {string | null} */
export function currentKey() {
  return key
}

/** @returns {Record<string, string>} */
export function keyHeaders() {
  return key === null ? {} : { authorization: `Bearer ${key}` }
}

/**
 * After an answer that wants a key, or another one. All who need it wait for one dialog. What runs in the background
 * does not ask again a person who has declined.
 * @param {string | null} usedKey that was refused
 * @param {{ readonly inBackground: boolean }} options
 * @returns {Promise<boolean>} whether to try again, with `keyHeaders` as they are then
 */
export async function obtainKey(usedKey, { inBackground }) {
  if (key !== usedKey) return true
  if (ask === null || (inBackground && isDeclined)) return false
  asking ??= askOnce(ask, usedKey !== null).finally(() => {
    asking = null
  })
  return asking
}

/**
 * Asks for another key than the one that may not do what was asked for.
 * @returns {Promise<boolean>} whether one was given
 */
export async function replaceKey() {
  if (ask === null) return false
  asking ??= askOnce(ask, false).finally(() => {
    asking = null
  })
  return asking
}

/**
 * @param {NonNullable<typeof ask>} prompt
 * @param {boolean} refusedOne
 */
async function askOnce(prompt, refusedOne) {
  const given = await prompt(refusedOne)
  isDeclined = given === null
  if (given === null) return false
  key = given
  try {
    sessionStorage.setItem(storedAs, given)
  } catch {
    // a browser that keeps nothing for this page: the key is asked for again after a reload
  }
  return true
}

function readKey() {
  try {
    return sessionStorage.getItem(storedAs)
  } catch {
    return null
  }
}
