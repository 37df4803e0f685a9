import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { findChromium } from './chromium.mjs'

const jdks = ['openjdk-17-jdk-headless', 'openjdk-21-jdk-headless']

/**
 * Programs that npm cannot install. `packages` are those of Debian and Ubuntu, a list inside names alternatives, best
 * first. Plain JavaScript, because the set-up asks before a Node that runs TypeScript is there.
 */
export const programs = [
  {
    title: 'Chromium (or CHROMIUM_PATH)',
    packages: ['chromium'],
    purposes: ['test'],
    isThere: async environment => findChromium(environment) !== null,
  },
  { title: 'Java 17 or newer', packages: [jdks], purposes: ['test', 'stack'], isThere: hasJava },
  // Some tests compile a Java client.
  { title: 'javac', packages: [jdks], purposes: ['test'], isThere: has('javac') },
  { title: 'Maven', packages: ['maven'], purposes: ['test', 'stack'], isThere: has('mvn') },
  { title: 'Redis', packages: ['redis-server'], purposes: ['test', 'stack'], isThere: has('redis-server') },
  {
    title: 'Python 3 with venv',
    packages: ['python3', 'python3-venv'],
    purposes: ['test'],
    isThere: async environment => (await outputOf('python3', ['-c', 'import venv, ensurepip'], environment)) !== null,
  },
  { title: 'OpenSSL', packages: ['openssl'], purposes: ['test'], isThere: has('openssl') },
]

function has(program) {
  return async environment => (environment.PATH || '').split(delimiter).some(folder => isExecutable(folder, program))
}

function isExecutable(folder, program) {
  try {
    accessSync(join(folder, program), constants.X_OK)
    return folder !== ''
  } catch {
    return false
  }
}

async function hasJava(environment) {
  const output = await outputOf('java', ['-version'], environment)
  const version = /version "(\d+)/.exec(output || '')
  return version !== null && Number(version[1]) >= 17
}

/** null when the program is not there or fails. */
function outputOf(program, args, env) {
  return new Promise(resolve =>
    execFile(program, args, { env }, (error, stdout, stderr) => resolve(error ? null : stdout + stderr)),
  )
}
