import { spawnSync } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, Generation } from '../schemas/ids.ts'
import { type ControlState, type GenerationStatus, initialControlState } from '../topologies/control/control-state.ts'
import { bundledModels } from '../workers/model-manifest.ts'
import { parseConfig } from './config.ts'
import { modelIdentity } from './image-roles.ts'
import { ModelPools } from './model-pools.ts'
import { runCli } from './testing/captured-cli.ts'

const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const log = pino({ level: 'silent' })

let directory: string
let pools: ModelPools | null
let alarms: FreshetError[]
let nowMs: number

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-model-pools-'))
  pools = null
  alarms = []
  nowMs = 0
})
afterEach(async () => {
  await pools?.close()
  await rm(directory, { recursive: true, force: true })
})

function configOf(environment: Readonly<Record<string, string>>) {
  const sources = { machine: { cores: 2 }, workingDir: directory, flags: {} }
  return parseConfig({
    ...sources,
    environment: { FRESHET_DATA_DIR: directory, FRESHET_PROCESSES: '1', ...environment },
  }).config
}

function open(environment: Readonly<Record<string, string>> = {}): ModelPools {
  const config = configOf(environment)
  pools = new ModelPools({ config, log, onAlarm: error => alarms.push(error), clock: () => nowMs })
  return pools
}

interface Wanted {
  readonly generation: Generation
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly share?: number
  readonly isRetired?: true
}

function stateOf(...wanted: readonly Wanted[]): ControlState {
  const generations = wanted.map(({ generation, model, fingerprint, share = 0, isRetired }) => {
    const started = { generation, model, fingerprint }
    return [generation, { started, share, state: isRetired ? 'retired' : 'building' } as GenerationStatus] as const
  })
  return { ...initialControlState, generations: new Map(generations) }
}

test('each model is opened once, whatever generations it is of, and closed with the last of them', async () => {
  const stubs = { FRESHET_STUB_MODEL: 'true' }
  const [one, other] = [await modelIdentity(configOf(stubs)), await modelIdentity(configOf(stubs), 'stub-b')]
  expect(other.fingerprint).not.toBe(one.fingerprint)
  const held = open(stubs)
  await held.adopt(stateOf({ generation: g1, ...one, share: 1 }, { generation: g2, ...one }))
  expect(held.modelOf(g1)).toBe(held.modelOf(g2))
  expect(held.modelOf('g3' as Generation)).toBeUndefined()
  await held.adopt(stateOf({ generation: g1, ...one, share: 1, isRetired: true }, { generation: g2, ...other }))
  await expect.poll(() => held.modelOf(g2)?.model).toBe('stub-b')
  expect(held.modelOf(g1)).toBeUndefined()
  const bytes = Buffer.from('a picture')
  expect((await held.modelOf(g2)!.analyse({ bytes }, 'whole')).vector).not.toEqual(null)
  expect(alarms).toEqual([])
})

test('a name that stands for another model here is not held, and leaves the others alone', async () => {
  const stubs = { FRESHET_STUB_MODEL: 'true' }
  const stub = await modelIdentity(configOf(stubs))
  const held = open(stubs)
  const foreign = { model: 'stub-b', fingerprint: 'f'.repeat(64) as Fingerprint }
  const state = stateOf({ generation: g1, ...stub, share: 0.95 }, { generation: g2, ...foreign, share: 0.05 })
  await held.adopt(state)
  await held.adopt(state)
  nowMs += 10_000
  await held.adopt(state)
  expect([held.modelOf(g1)?.model, held.modelOf(g2)]).toEqual(['stub', undefined])
  expect(alarms.map(({ code }) => code)).toEqual(['fingerprint-mismatch'])
  expect(held.whyNotHeld()).toContain('generation g2: model stub-b')
})

test('a model that is not here is told with what to do about it, and held once that was done', async () => {
  const given = join(directory, 'given')
  await cp(bundledModels, given, { recursive: true })
  const manifest = JSON.parse(await readFile(join(given, 'manifest.json'), 'utf8'))
  const mine = { mine: { embedder: 'embedder-v2' } }
  await writeFile(join(given, 'manifest.json'), JSON.stringify({ ...manifest, sets: mine }))
  const elsewhere = join(directory, 'elsewhere')
  expect(await runCli(['model', 'add', given, '--data-dir', elsewhere])).toMatchObject({ exitCode: 0 })
  const identity = await modelIdentity(configOf({ FRESHET_DATA_DIR: elsewhere }), 'mine')

  const held = open()
  const state = stateOf({ generation: g1, ...identity, share: 1 })
  await held.adopt(state)
  expect(alarms).toMatchObject([{ code: 'model-invalid', message: expect.stringContaining('freshet model add') }])
  expect([held.whyNotHeld(), held.modelOf(g1), held.processes()]).toEqual([expect.any(String), undefined, []])
  await runCli(['model', 'add', given, '--data-dir', directory])
  await held.adopt(state)
  expect(held.modelOf(g1)).toBeUndefined()
  nowMs += 10_000
  await held.adopt(state)
  expect([held.isWhole, held.whyNotHeld(), held.whyNotRunning()]).toEqual([true, null, null])
  expect(held.modelOf(g1)).toMatchObject(identity)
  const [process] = held.processes()
  expect(process).toMatchObject({ name: 'model-mine-0', state: 'running' })
  expect(alarms).toHaveLength(1)
  await held.adopt(stateOf({ generation: g1, ...identity, isRetired: true }))
  expect(held.processes()).toEqual([])
  await expect.poll(() => isAlive(process!.pid!)).toBe(false)
})

test('a machine that computes other vectors than the manifest says embeds nothing with the model', async () => {
  const added = join(directory, 'models', 'sets', 'mine')
  await cp(bundledModels, added, { recursive: true })
  const manifest = JSON.parse(await readFile(join(added, 'manifest.json'), 'utf8'))
  const picture = 'furniture/rooms/room-000.jpg'
  // The pattern, which the model alone decides about, fits: decoding, resizing or cropping is what differs here.
  for (const model of manifest.models.filter(({ id }: { id: string }) => id === 'embedder-v2'))
    for (const golden of model.golden) if (golden.input === picture) golden.expect[0] += 2 * golden.tolerance
  await writeFile(
    join(added, 'manifest.json'),
    JSON.stringify({ ...manifest, sets: { mine: { embedder: 'embedder-v2' } } }),
  )

  const [v1, mine] = [await modelIdentity(configOf({}), 'v1'), await modelIdentity(configOf({}), 'mine')]
  const held = open()
  await held.adopt(stateOf({ generation: g1, ...v1, share: 1 }, { generation: g2, ...mine }))
  await expect
    .poll(() => held.failureOf(g2), { timeout: 30_000 })
    .toMatchObject({
      code: 'model-invalid',
      message: expect.stringContaining(`embedder-v2 misses its golden vector for ${picture} by`),
    })
  expect([held.modelOf(g2), alarms.length]).toEqual([undefined, 1])
  expect(held.modelOf(g1)?.model).toBe('v1')
  expect(held.processes().map(({ name }) => name)).toEqual(['model-v1-0'])
})

function isAlive(pid: number): boolean {
  try {
    return globalThis.process.kill(pid, 0)
  } catch {
    return false
  }
}

test('a model of a generation without queries keeps nobody waiting, and is closed when it comes too late', async () => {
  const [v1, v2] = [await modelIdentity(configOf({}), 'v1'), await modelIdentity(configOf({}), 'v2')]
  const held = open()
  const state = stateOf({ generation: g1, ...v1, share: 1 }, { generation: g2, ...v2 })
  await held.adopt(state)
  expect([held.modelOf(g1)?.model, held.modelOf(g2)]).toEqual(['v1', undefined])
  expect([held.whyNotHeld(), held.failureOf(g2)]).toEqual([null, null])
  await held.adopt(state)
  await expect
    .poll(() => held.processes().map(({ name }) => name), { timeout: 30_000 })
    .toEqual(['model-v1-0', 'model-v2-0'])
  await held.adopt(stateOf({ generation: g1, ...v1, share: 1 }))
  await held.adopt(state)
  await held.close()
  await expect.poll(() => childrenOf(process.pid).length, { timeout: 30_000 }).toBe(0)
  expect(held.processes()).toEqual([])
})

/** Model processes of this one. */
function childrenOf(pid: number): readonly string[] {
  const { stdout } = spawnSync('ps', ['--ppid', String(pid), '-o', 'args='], { encoding: 'utf8' })
  return stdout.split('\n').filter(line => line.includes('model-child'))
}
