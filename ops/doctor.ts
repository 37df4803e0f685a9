import { spawnSync } from 'node:child_process'
import { constants, existsSync, readdirSync, readFileSync } from 'node:fs'
import { access, mkdtemp, open, rm, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { availableMemory } from 'node:process'
import { pino } from 'pino'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { dataFormat, openDataDirectory } from '../topologies/embedded/data-directory.ts'
import { findChromium } from './chromium.mjs'
import type { Config } from './config.ts'
import { openModel, openModelStore } from './image-roles.ts'
import { goldenResults, verifiedModels } from './model-check.ts'

export interface Finding {
  readonly name: string
  readonly outcome: 'ok' | 'warn' | 'fail'
  readonly found: string
  /** What to do; empty when all is well. */
  readonly advice: string
}

export interface Patient {
  readonly config: Config
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly nodeVersion: string
  readonly cores: number
  /** Look at the servers of the distributed form too. */
  readonly servers?: boolean
}

/** Looks at all that a server needs on this machine, one finding after another. A check that throws is a finding. */
export async function* diagnose(patient: Patient): AsyncGenerator<Finding> {
  for (const [name, check] of Object.entries(checks)) yield { name, ...(await looked(check, patient)) }
  if (!patient.servers) return
  // Their clients are loaded for this alone.
  const { serverChecks } = await import('./doctor-servers.ts')
  for (const [name, check] of Object.entries(serverChecks))
    yield { name, ...(await looked(({ config }) => check(config), patient)) }
}

export type Look = Omit<Finding, 'name'>
type Check = (patient: Patient) => Promise<Look> | Look

const checks: Readonly<Record<string, Check>> = {
  node: checkNode,
  packages: checkPackages,
  models: checkModels,
  vectors: checkVectors,
  cores: checkCores,
  memory: checkMemory,
  disk: checkDisk,
  'write speed': checkWriteSpeed,
  'data directory': checkDataDirectory,
  port: checkPort,
  browser: checkBrowser,
}

const silent = pino({ level: 'silent' })

const ok = (found: string): Look => ({ outcome: 'ok', found, advice: '' })
const warn = (found: string, advice: string): Look => ({ outcome: 'warn', found, advice })
const fail = (found: string, advice: string): Look => ({ outcome: 'fail', found, advice })

async function looked(check: Check, patient: Patient): Promise<Look> {
  try {
    return await check(patient)
  } catch (thrown) {
    const { message, code } = asFreshetError(thrown)
    return fail(`${message} (${code})`, 'The check itself failed; mend the cause and run it again.')
  }
}

function checkNode({ nodeVersion }: Patient): Look {
  const [major, minor] = nodeVersion.replace(/^v/, '').split('.').map(Number)
  const isNewEnough = major! > 22 || (major === 22 && minor! >= 18)
  return isNewEnough ? ok(nodeVersion) : fail(nodeVersion, 'Node.js 22.18 or newer is needed: run node ops/setup.mjs.')
}

const loadWithinMs = 20_000
const nativePackages = ['lmdb', 'sharp', 'onnxruntime-node', 'usearch']

/** In a process of their own: a native library that does not fit this machine may crash instead of throwing. */
function checkPackages(): Look {
  const broken = nativePackages.filter(name => {
    const { status } = spawnSync(process.execPath, ['--eval', `require(${JSON.stringify(name)})`], {
      cwd: import.meta.dirname,
      stdio: 'ignore',
      timeout: loadWithinMs,
    })
    return status !== 0
  })
  if (broken.length === 0) return ok(`${nativePackages.join(', ')} load`)
  return fail(`${broken.join(', ')} cannot be loaded`, 'Delete node_modules and run node ops/setup.mjs.')
}

async function checkModels({ config }: Patient): Promise<Look> {
  const models = await verifiedModels(openModelStore(config))
  const found = models.map(({ model, fingerprint }) => `${model} ${fingerprint.slice(0, 12)}`).join(', ')
  if (models.some(({ model }) => model === config.model)) return ok(`digests fit: ${found}`)
  return fail(found, `The option model names ${config.model}, which is none of them.`)
}

/** Runs every model: its golden vectors, pictures and all, and a picture by both routes, indexing and query. */
async function checkVectors({ config }: Patient): Promise<Look> {
  const store = openModelStore(config)
  const found: string[] = []
  for (const model of await store.names()) {
    const goldens = await goldenResults(store, model)
    // Opening one checks that a query gets the vectors that indexing gives.
    const role = await openModel({ ...config, stubModel: false, processes: 1 }, silent, model)
    await role.close()
    found.push(`${model}: ${goldens.length} golden results, both routes alike`)
  }
  return ok(found.join('; '))
}

function checkCores({ cores }: Patient): Look {
  return cores >= 2
    ? ok(`${cores} cores`)
    : warn('1 core', 'Indexing and searching will share it: expect slow answers.')
}

const neededBytes = 1 << 30

function checkMemory(): Look {
  const free = availableMemory()
  const found = `${gibibytes(free)} available`
  return free >= neededBytes ? ok(found) : warn(found, 'A server takes about 1 GiB; set processes to 1, or free some.')
}

async function checkDisk({ config }: Patient): Promise<Look> {
  const { bavail, bsize } = await statfs(existingParent(config.dataDir))
  const free = bavail * bsize
  const found = `${gibibytes(free)} free for ${config.dataDir}`
  if (free < neededBytes / 4) return fail(found, 'Free some space, or choose another dataDir.')
  return free < 4 * neededBytes ? warn(found, 'Little for a growing catalogue: watch it.') : ok(found)
}

const syncs = 20
const slowSyncMs = 20

/** Every acknowledged event waits for one of these. */
async function checkWriteSpeed({ config }: Patient): Promise<Look> {
  const parent = existingParent(config.dataDir)
  const directory = await mkdtemp(join(parent, '.freshet-doctor-'))
  try {
    const file = await open(join(directory, 'probe'), 'w')
    const block = new Uint8Array(4_096)
    const startedMs = performance.now()
    for (let i = 0; i < syncs; i++) {
      await file.write(block)
      await file.datasync()
    }
    const eachMs = (performance.now() - startedMs) / syncs
    await file.close()
    const found = `${eachMs.toFixed(1)} ms for a durable write of 4 KiB`
    return eachMs <= slowSyncMs
      ? ok(found)
      : warn(found, 'Events are acknowledged no faster than this; use a faster disk.')
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function checkDataDirectory({ config }: Patient): Promise<Look> {
  const { dataDir } = config
  const place = existingParent(dataDir)
  if (!(await isWritable(place)))
    return fail(`${place} is not writable`, 'Change its owner, or choose another dataDir.')
  if (!existsSync(dataDir) || readdirSync(dataDir).length === 0) return ok(`${dataDir} is empty: a server fills it`)
  const format = formatOf(dataDir)
  if (format === null) return fail(`${dataDir} holds something else`, 'Choose an empty directory as dataDir.')
  if (format > dataFormat.version)
    return fail(
      `${dataDir} has format ${format}`,
      `This version reads formats up to ${dataFormat.version}: use a newer one.`,
    )
  if (format < dataFormat.version)
    return warn(
      `${dataDir} has format ${format}`,
      `A server migrates it to ${dataFormat.version}; make a backup first.`,
    )
  return lockState(dataDir)
}

/** Only for a directory of the current format: opening changes nothing in it. */
async function lockState(dataDir: string): Promise<Look> {
  try {
    const opened = await openDataDirectory(dataDir)
    await opened.close()
    return ok(`${dataDir}, format ${dataFormat.version}, not in use`)
  } catch (thrown) {
    if (thrown instanceof FreshetError && thrown.code === 'data-locked') return ok(thrown.message)
    throw thrown
  }
}

function formatOf(dataDir: string): number | null {
  const path = join(dataDir, 'FORMAT')
  return existsSync(path) ? Number(readFileSync(path, 'utf8')) : null
}

async function checkPort({ config }: Patient): Promise<Look> {
  const { host, port } = config
  const trouble = await listenTrouble(host, port)
  if (trouble === null) return ok(`${host}:${port} is free`)
  if (trouble !== 'EADDRINUSE') return fail(`${host}:${port}: ${trouble}`, 'Choose another host or port.')
  if (await answersAsFreshet(host, port)) return ok(`a Freshet server answers at ${host}:${port}`)
  return fail(`${host}:${port} is taken by another program`, 'End it, or choose another port.')
}

function checkBrowser({ environment }: Patient): Look {
  const chromium = findChromium(environment)
  if (chromium !== null) return ok(chromium)
  return warn('no Chromium', 'Only the tests of the page need it: install the package chromium, or set CHROMIUM_PATH.')
}

function existingParent(path: string): string {
  return existsSync(path) ? path : existingParent(dirname(path))
}

async function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  )
}

function listenTrouble(host: string, port: number): Promise<string | null> {
  return new Promise(resolve => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    probe.listen(port, host, () => probe.close(() => resolve(null)))
  })
}

async function answersAsFreshet(host: string, port: number): Promise<boolean> {
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}/v1/status`
  return fetch(url, { signal: AbortSignal.timeout(2_000) })
    .then(response => response.json())
    .then(
      body => typeof body === 'object' && body !== null && ('items' in body || 'error' in body),
      () => false,
    )
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`
