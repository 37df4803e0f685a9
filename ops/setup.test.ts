import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

/** The set-up in a checkout of its own, with packages that are only named. */
let checkout: string

beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'freshet-setup-'))
  mkdirSync(join(checkout, 'ops'))
  for (const file of ['setup.mjs', 'chromium.mjs']) cpSync(join(import.meta.dirname, file), join(checkout, 'ops', file))
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

/** As `npm ci` leaves it. */
function install(version: string): void {
  mkdirSync(join(checkout, 'node_modules', '.bin'), { recursive: true })
  writeFileSync(join(checkout, 'node_modules', '.bin', 'node'), '')
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

test('the browser: found where it is named, else the missing package is named', () => {
  install('1.0.0')
  expect(setUp(['--for', 'test'], { CHROMIUM_PATH: process.execPath })).toEqual(silent)
  const { status, stderr } = setUp(['--for', 'test'])
  expect(status).toBe(1)
  expect(stderr).toBe('set-up: the tests want a browser: install Chromium, or set CHROMIUM_PATH.\n')
})
