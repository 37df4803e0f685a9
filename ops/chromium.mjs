import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
const applications = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome']

/**
 * Path of a Chromium or Chrome: `CHROMIUM_PATH`, else on the search path, else null. Plain JavaScript, because the
 * set-up asks before a Node that runs TypeScript is there.
 * @param {Readonly<Record<string, string | undefined>>} environment
 * @returns {string | null}
 */
export function findChromium(environment) {
  const named = environment.CHROMIUM_PATH
  if (named) return isExecutable(named) ? named : null
  const folders = (environment.PATH || '').split(delimiter).filter(folder => folder !== '')
  const candidates = folders.flatMap(folder => names.map(name => join(folder, name)))
  return [...candidates, ...applications].find(isExecutable) || null
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
