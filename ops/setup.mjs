// Makes a fresh clone ready: packages by the lockfile (with a Node that runs TypeScript among them) and the `freshet`
// command; for `--for test` and `--for stack` also programs such as Java and the files of real servers. Plain
// JavaScript on node: modules alone, because it runs before anything is installed, on any Node from 16. Does nothing,
// silently, when all is there.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  appendFileSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findChromium } from './chromium.mjs'
import { programs } from './required-programs.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const stampPath = join(modules, '.freshet-setup')
const scratch = join(root, '.cache')
const lockPath = join(scratch, 'setup.lock')
const logPath = join(scratch, 'setup.log')
const nodePath = join(modules, '.bin', 'node')
const fetchPath = join(root, 'topologies', 'servers', 'fetch.ts')
// A machine that has just been started often runs an upgrade of its own, which holds the lock.
const aptOptions = ['-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3']
const platforms = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64']

/** What stops the set-up; its message is the one sentence the user reads. */
class SetupError extends Error {}

try {
  await installPackages()
  const [option, purpose] = process.argv.slice(2)
  if (option === '--for' && ['test', 'stack'].includes(purpose)) await prepareFor(purpose)
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`set-up: ${error.message}\n`)
  process.exitCode = 1
}

async function installPackages() {
  const platform = `${process.platform}-${process.arch}`
  if (!platforms.includes(platform))
    throw new SetupError(`${platform} is not supported: Freshet runs on ${platforms.join(', ')}.`)
  if (isInstalled(platform)) return
  await lock()
  try {
    if (isInstalled(platform)) return
    await runNpm()
    checkNode(platform)
    markInstalled(platform)
  } finally {
    rmSync(lockPath, { force: true })
  }
}

function isInstalled(platform) {
  if (!existsSync(nodePath)) return false
  if (readOrEmpty(stampPath) === stampOf(platform)) return true
  if (!existsSync(stampPath) && isInstalledByHand()) markInstalled(platform)
  return readOrEmpty(stampPath) === stampOf(platform)
}

/** True when the user's own `npm ci` or `npm install` put every package of the lockfile in place. */
function isInstalledByHand() {
  const present = readOrEmpty(join(modules, '.package-lock.json'))
  if (present === '') return false
  const have = JSON.parse(present).packages
  const want = Object.entries(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages)
  return want.every(
    ([path, each]) => path === '' || each.optional || (have[path] && have[path].version === each.version),
  )
}

function stampOf(platform) {
  return `${createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')} ${platform}\n`
}

/** The stamp comes last: without it the next run begins again. */
function markInstalled(platform) {
  const command = [
    '#!/bin/sh',
    'here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd -P)',
    // kafkajs sets timers for times that are over; Node would tell every user of it.
    'exec "$here/node" --disable-warning=TimeoutNegativeWarning "$here/../../ops/freshet.ts" "$@"',
  ]
  try {
    writeFileSync(join(modules, '.bin', 'freshet'), `${command.join('\n')}\n`, { mode: 0o755 })
    writeFileSync(stampPath, stampOf(platform))
  } catch (error) {
    throw new SetupError(`${modules} cannot be written (${error.code}): run this as the owner of the folder.`)
  }
}

/** One set-up at a time; a lock whose process is gone is taken over. */
async function lock() {
  try {
    mkdirSync(scratch, { recursive: true })
  } catch (error) {
    throw new SetupError(`${root} cannot be written (${error.code}): run this as the owner of the folder.`)
  }
  let told = false
  for (;;) {
    try {
      return writeFileSync(lockPath, String(process.pid), { flag: 'wx' })
    } catch (error) {
      if (error.code !== 'EEXIST') throw new SetupError(`${lockPath} cannot be written (${error.code}).`)
    }
    const holder = Number(readOrEmpty(lockPath))
    if (holder > 0 && !isAlive(holder)) rmSync(lockPath, { force: true })
    else if (!told) say(`waiting for the set-up that process ${holder} is doing`)
    told = true
    await new Promise(resolve => setTimeout(resolve, 250))
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

async function runNpm() {
  const lockfile = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const packages = Object.keys(lockfile.packages).length - 1
  const why = existsSync(modules) ? 'the lockfile has changed: ' : ''
  const flags = ['ci', '--include=dev', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error']
  const { npm_execpath: npm, npm_node_execpath: node } = process.env
  const [command, ...args] = npm && node ? [node, npm, ...flags] : ['npm', ...flags]
  const environment = {
    ...process.env,
    // npm replaces node_modules, so nothing it starts may come from there.
    PATH: (process.env.PATH || '')
      .split(delimiter)
      .filter(each => !each.startsWith(modules))
      .join(delimiter),
    // The CPU library is in the package; the download is for GPUs.
    ONNXRUNTIME_NODE_INSTALL: 'skip',
    ...(isWritable(homedir()) ? {} : { npm_config_cache: join(scratch, 'npm'), HOME: scratch }),
  }
  await runAnnounced({ what: `${why}installing ${packages} packages, about 700 MB`, command, args, environment })
}

function checkNode(platform) {
  const { status, stdout } = spawnSync(nodePath, ['--version'], { encoding: 'utf8' })
  if (status !== 0)
    throw new SetupError(
      `the Node.js that was installed does not run on this ${platform} system (glibc 2.28 is needed).`,
    )
  say(`ready, with Node.js ${stdout.trim()}`)
}

/** What `npm test` or `npm run stack` need besides the packages. Maven only when there is something to fetch. */
async function prepareFor(purpose) {
  if (process.env.CHROMIUM_PATH && !findChromium(process.env))
    throw new SetupError(`CHROMIUM_PATH names ${process.env.CHROMIUM_PATH}, which cannot be run.`)
  const files = missingFiles()
  const wanted = programs.filter(
    ({ title, purposes }) => purposes.includes(purpose) && (title !== 'Maven' || files.length > 0),
  )
  const missing = await missingOf(wanted)
  if (missing.length > 0) await installPrograms(missing)
  for (const [name, title, megabytes] of files) {
    const what = `fetching ${title}, about ${megabytes} MB`
    await runAnnounced({ what, command: nodePath, args: [fetchPath, name], environment: process.env })
  }
}

/** Name, title and megabytes of each set of server files that is not in the cache. */
function missingFiles() {
  const { status, stdout, stderr } = spawnSync(nodePath, [fetchPath], { encoding: 'utf8' })
  if (status !== 0) throw new SetupError(`the cache of server files cannot be looked at: ${lastLine(stderr)}`)
  const lines = stdout.split('\n').filter(line => line !== '')
  return lines.map(line => line.split('\t'))
}

async function missingOf(wanted) {
  const present = await Promise.all(wanted.map(program => program.isThere(process.env)))
  return wanted.filter((_, i) => !present[i])
}

/** All in one call of apt, where that can be. */
async function installPrograms(missing) {
  const titles = missing.map(({ title }) => title).join(', ')
  if (spawnSync('apt-get', ['--version']).status !== 0)
    throw new SetupError(`these programs are missing: ${titles}. Install them and run this again.`)
  if (process.getuid() !== 0)
    throw new SetupError(`missing are ${titles}: have root run "apt-get install -y ${packagesOf(missing).join(' ')}".`)
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (what, args) => runAnnounced({ what, command: 'apt-get', args: [...aptOptions, ...args], environment })
  await apt('asking apt for its package lists', ['update'])
  await apt(`installing ${titles}`, ['install', '-y', '--no-install-recommends', ...packagesOf(missing)])
  const still = await missingOf(missing)
  if (still.length > 0)
    throw new SetupError(
      `apt has installed its packages, but still missing are ${still.map(each => each.title).join(', ')}.`,
    )
}

function packagesOf(missing) {
  const isKnown = name => spawnSync('apt-cache', ['show', name]).status === 0
  const names = missing.flatMap(({ packages }) =>
    packages.map(each => (Array.isArray(each) ? each.find(isKnown) || each[0] : each)),
  )
  return [...new Set(names)]
}

/** Runs a command, says how long it takes, keeps its output in the log. @throws SetupError with one sentence */
async function runAnnounced({ what, command, args, environment }) {
  const startedMs = Date.now()
  const seconds = () => `${Math.round((Date.now() - startedMs) / 1000)} s`
  const isTty = process.stderr.isTTY
  if (!isTty) say(`${what} …`)
  const frames = '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'
  let frame = 0
  const ticking = setInterval(
    () => {
      if (isTty) process.stderr.write(`\r\x1b[K${frames[frame++ % frames.length]} set-up: ${what}, ${seconds()}`)
      else say(`still at it after ${seconds()}`)
    },
    isTty ? 100 : 20_000,
  )
  const { code, output } = await outputOf(command, args, environment)
  clearInterval(ticking)
  if (isTty) process.stderr.write('\r\x1b[K')
  mkdirSync(scratch, { recursive: true })
  appendFileSync(logPath, `$ ${command} ${args.join(' ')}\n${output}\n`)
  if (code !== 0) throw new SetupError(sentenceFor(command, code, output))
  say(isTty ? `${what}: done in ${seconds()}` : `done in ${seconds()}`)
}

function outputOf(command, args, env) {
  return new Promise(resolve => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => (output += text))
    child.on('error', error => resolve({ code: error.code, output: error.message }))
    child.on('close', (code, signal) => resolve({ code: signal || code, output }))
  })
}

function sentenceFor(command, code, output) {
  if (command === nodePath) return lastLine(output)
  const program = command === 'apt-get' ? 'apt-get' : 'npm'
  if (code === 'ENOENT') return `${program} was not found: install Node.js with npm (version 18 or newer).`
  if (/ENOSPC|No space left/.test(output)) return 'the disk is full: the packages need about 1 GB.'
  if (
    /EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|Temporary failure resolving|Could not connect/.test(output)
  )
    return `the package registry could not be reached: ${program} needs the network or a proxy (details in ${logPath}).`
  if (/EACCES|EPERM|Permission denied/.test(output))
    return `${root} cannot be written: run this as the owner of the folder.`
  const line = output
    .split('\n')
    .find(each => /^(npm error|npm ERR!|E:) /.test(each) && !/ (code|errno|syscall) /.test(each))
  const reason = (line || `it ended with ${code}`).replace(/^(npm error|npm ERR!|E:) /, '')
  return `${program} ${program === 'npm' ? 'ci' : 'install'} failed: ${reason} (details in ${logPath}).`
}

function lastLine(text) {
  return text.trim().split('\n').pop()
}

function isWritable(path) {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function readOrEmpty(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function say(line) {
  process.stderr.write(`set-up: ${line}\n`)
}
