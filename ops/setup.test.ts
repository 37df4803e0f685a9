import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

/** The set-up in a checkout of its own, with packages that are only named. */
let checkout: string

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'freshet-setup-'))
  mkdirSync(join(checkout, 'ops'))
  for (const file of ['setup.mjs', 'chromium.mjs', 'required-programs.mjs'])
    cpSync(join(import.meta.dirname, file), join(checkout, 'ops', file))
  writeLockfile('1.0.0')
})
afterEach(() => rmSync(checkout, { recursive: true }))

function writeLockfile(version: string): void {
  const packages = {
    '': {},
    'node_modules/thing': { version },
    'node_modules/other-system': { version, optional: true },
  }
  writeFileSync(join(checkout, 'package-lock.json'), JSON.stringify({ packages }))
}

/** As `npm ci` leaves it. Its Node answers for the cache of server files: by the missing ones, or by a fetch that fails. */
function install(version: string, missingFiles = '', fetchFailure = ''): void {
  mkdirSync(join(checkout, 'node_modules', '.bin'), { recursive: true })
  const fetched = fetchFailure === '' ? 'exit 0' : `echo "${fetchFailure}" >&2; exit 1`
  const node = join(checkout, 'node_modules', '.bin', 'node')
  writeFileSync(node, `#!/bin/sh\nif [ $# = 1 ]; then printf '${missingFiles}'; else ${fetched}; fi\n`, { mode: 0o755 })
  const packages = { 'node_modules/thing': { version } }
  writeFileSync(join(checkout, 'node_modules', '.package-lock.json'), JSON.stringify({ packages }))
}

function setUp(args: readonly string[] = [], environment: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(checkout, 'ops', 'setup.mjs'), ...args], {
    encoding: 'utf8',
    env: { PATH: join(checkout, 'no-programs'), HOME: checkout, ...environment },
  })
  return { status, stdout, stderr }
}

const programs = ['chromium', 'java', 'javac', 'mvn', 'redis-server', 'python3', 'openssl']
/** Environment whose only programs are those that were added. */
let fake: Readonly<Record<string, string>>
beforeEach(() => {
  mkdirSync(join(checkout, 'programs'))
  fake = { PATH: join(checkout, 'programs') }
})

const failure = (sentence: string) => ({ status: 1, stdout: '', stderr: `set-up: ${sentence}\n` })

const asUser = (uid: number) => ({
  NODE_OPTIONS: `--import "data:text/javascript,process.getuid=()=>${uid}"`,
})

function addPrograms(...names: readonly string[]): void {
  for (const name of names) addProgram(name, `echo 'openjdk version "17.0.15" 2025-04-15'`)
}

function addProgram(name: string, script: string): void {
  writeFileSync(join(checkout, 'programs', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}

/** An apt that knows Java 21 only, notes what it is asked, and installs it. */
function addApt(): void {
  const installed = ['javac', 'redis-server', 'python3'].map(name => `${join(checkout, 'programs')}/${name}`)
  addProgram(
    'apt-get',
    `[ "$1" = --version ] && exit 0
shift 4
echo "$*" >>'${join(checkout, 'apt-calls')}'
[ "$1" = install ] && for each in ${installed.join(' ')}; do /bin/cp '${join(checkout, 'programs', 'java')}' "$each"; done
exit 0`,
  )
  addProgram('apt-cache', '[ "$2" = openjdk-21-jdk-headless ]')
}

const aptCalls = (): readonly string[] => readFileSync(join(checkout, 'apt-calls'), 'utf8').trim().split('\n')

const silent = { status: 0, stdout: '', stderr: '' }

test('packages that the user installed are taken as they are, silently', () => {
  install('1.0.0')
  expect(setUp()).toEqual(silent)
  expect(existsSync(join(checkout, 'node_modules', '.bin', 'freshet'))).toBe(true)
  expect(setUp()).toEqual(silent)
})

test('another lockfile needs another installation', () => {
  install('1.0.0')
  setUp()
  writeLockfile('2.0.0')
  const { status, stderr } = setUp()
  expect(status).toBe(1)
  expect(stderr).toContain('the lockfile has changed: installing 2 packages')
})

test('without npm it fails with one sentence, and leaves no lock', () => {
  const { status, stderr } = setUp()
  expect(status).toBe(1)
  expect(stderr.trim().split('\n').at(-1)).toBe(
    'set-up: npm was not found: install Node.js with npm (version 18 or newer).',
  )
  expect(readdirSync(join(checkout, '.cache'))).toEqual(['setup.log'])
})

test('the lock of a process that is gone is taken over', () => {
  mkdirSync(join(checkout, '.cache'))
  const gone = spawnSync(process.execPath, ['--version']).pid
  writeFileSync(join(checkout, '.cache', 'setup.lock'), String(gone))
  expect(setUp().stderr).toContain('npm was not found')
})

test('the browser: found where it is named, else it is one of the missing programs', () => {
  install('1.0.0')
  addPrograms(...programs.filter(name => name !== 'chromium'))
  expect(setUp(['--for', 'test'], { ...fake, CHROMIUM_PATH: process.execPath })).toEqual(silent)
  expect(setUp(['--for', 'test'], { ...fake, CHROMIUM_PATH: 'nowhere' })).toEqual(
    failure('CHROMIUM_PATH names nowhere, which cannot be run.'),
  )
  expect(setUp(['--for', 'test'], fake)).toEqual(
    failure('these programs are missing: Chromium (or CHROMIUM_PATH). Install them and run this again.'),
  )
})

test('with every program and file there it is silent; without --for none is asked for', () => {
  install('1.0.0')
  expect(setUp()).toEqual(silent)
  addPrograms(...programs)
  expect(setUp(['--for', 'test'], fake)).toEqual(silent)
})

test('the stack wants fewer programs than the tests, and an old Java counts as none', () => {
  install('1.0.0')
  addPrograms('java', 'redis-server')
  expect(setUp(['--for', 'stack'], fake)).toEqual(silent)
  const path = join(checkout, 'programs', 'java')
  writeFileSync(path, readFileSync(path, 'utf8').replace('17.0.15', '11.0.2'))
  expect(setUp(['--for', 'stack'], fake)).toEqual(
    failure('these programs are missing: Java 17 or newer. Install them and run this again.'),
  )
})

test('apt is asked once for all that is missing; who is not root is told what to ask for', () => {
  install('1.0.0')
  addPrograms('chromium', 'java', 'openssl')
  addApt()
  const command = 'install -y --no-install-recommends openjdk-21-jdk-headless redis-server python3 python3-venv'
  expect(setUp(['--for', 'test'], { ...fake, ...asUser(1000) })).toEqual(
    failure(
      'missing are javac, Redis, Python 3 with venv: have root run "apt-get install -y openjdk-21-jdk-headless redis-server python3 python3-venv".',
    ),
  )
  const { status, stderr } = setUp(['--for', 'test'], { ...fake, ...asUser(0) })
  expect({ status, stderr }).toMatchObject({ status: 0 })
  expect(aptCalls()).toEqual(['update', command])
  expect(setUp(['--for', 'test'], { ...fake, ...asUser(0) })).toEqual(silent)
})

test('files of servers are fetched one by one, with Maven; a failure is passed on in its own words', () => {
  const missing = 'kafka\\tApache Kafka 4.3.1\\t45\\n'
  install('1.0.0', missing)
  addPrograms('java', 'redis-server')
  expect(setUp(['--for', 'stack'], fake)).toEqual(
    failure('these programs are missing: Maven. Install them and run this again.'),
  )
  addPrograms('mvn')
  const { status, stderr } = setUp(['--for', 'stack'], fake)
  expect([status, stderr]).toEqual([0, expect.stringContaining('fetching Apache Kafka 4.3.1, about 45 MB')])
  install('1.0.0', missing, 'Apache Kafka 4.3.1 could not be fetched: the disk is full.')
  expect(setUp(['--for', 'stack'], fake).stderr).toContain(
    'set-up: Apache Kafka 4.3.1 could not be fetched: the disk is full.\n',
  )
})
