import { afterEach, beforeEach, expect, test } from 'vitest'
import { openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import { asPartition, type Fingerprint } from '../../schemas/ids.ts'
import { MemorySchemaDirectory } from '../../schemas/testing/memory-schema-directory.ts'
import { controlTopic } from '../../schemas/topics.ts'
import { ControlLog } from '../../topologies/control/control-log.ts'
import type { ControlState } from '../../topologies/control/control-state.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { TemporaryEnvironment } from '../../topologies/embedded/testing/temporary-environment.ts'
import type { LogPorts } from '../storage.ts'
import { ControlFollower } from './control-follower.ts'

let environment: TemporaryEnvironment
let ports: Pick<LogPorts, 'log' | 'codecs'>
let followers: ControlFollower[]

beforeEach(async () => {
  environment = await TemporaryEnvironment.create()
  const log = new EmbeddedEventLog(await environment.open())
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  const kept = { retentionMs: null, compacted: false, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
  await log.ensureTopic({ ...kept, name: controlTopic, partitions: 1 })
  ports = { log, codecs: await openCodecs(schemas) }
  followers = []
})

afterEach(async () => {
  await Promise.all(followers.map(follower => follower.close()))
  await ports.log.close()
  await environment.dispose()
})

async function follow(
  onState: (state: ControlState) => Promise<void>,
  troubles: string[] = [],
): Promise<ControlFollower> {
  const follower = await ControlFollower.start({ ports, onState, onTrouble: ({ code }) => void troubles.push(code) })
  followers.push(follower)
  return follower
}

/** Another process decides. */
async function register(model: string): Promise<void> {
  const control = new ControlLog({ log: ports.log, codec: ports.codecs.control })
  const { lastAccepted } = await control.refresh()
  const fingerprint = 'a'.repeat(64) as Fingerprint
  const decision = { decidedAfter: lastAccepted, by: 'test', atMs: 1, reason: '' }
  await control.append({ ...decision, type: 'ModelRegistered', model, fingerprint, dims: 4, manifest: '{}' })
}

const modelsOf = ({ models }: ControlState) => [...models.keys()].join(' ')

test('what is there is acted on before it starts, what comes as it comes', async () => {
  await register('v1')
  const seen: string[] = []
  const follower = await follow(async state => void seen.push(modelsOf(state)))
  expect([seen, modelsOf(follower.state)]).toEqual([['v1'], 'v1'])
  await register('v2')
  await expect.poll(() => seen.includes('v1 v2')).toBe(true)
  await follower.log.refresh()
  await register('v3')
  await expect.poll(() => seen.at(-1)).toBe('v1 v2 v3')
})

test('the state goes on while an earlier one is still acted on, and then the last one is', async () => {
  const seen: string[] = []
  const gate = Promise.withResolvers<void>()
  const follower = await follow(async state => {
    seen.push(modelsOf(state))
    if (modelsOf(state) === 'v1') await gate.promise
  })
  await register('v1')
  await expect.poll(() => seen.at(-1)).toBe('v1')
  await register('v2')
  await register('v3')
  await expect.poll(() => modelsOf(follower.state)).toBe('v1 v2 v3')
  expect(seen.at(-1)).toBe('v1')
  gate.resolve()
  await expect.poll(() => seen.at(-1)).toBe('v1 v2 v3')
  expect(seen).not.toContain('v1 v2')
})

test('what fails is told once and done again, also when nothing changes', async () => {
  const troubles: string[] = []
  let calls = 0
  await follow(async () => {
    if (++calls <= 3) throw new Error('not yet')
  }, troubles)
  await expect.poll(() => calls, { timeout: 10_000 }).toBeGreaterThan(3)
  expect(troubles).toEqual(['internal'])
})

test('a record that cannot be read leaves the last state, and is told', async () => {
  await register('v1')
  const troubles: string[] = []
  const follower = await follow(async () => {}, troubles)
  await ports.log.append(controlTopic, [{ partition: asPartition(0), key: null, value: Buffer.from('garbage') }])
  await expect.poll(() => troubles).toEqual(['record-undecodable'])
  expect(modelsOf(follower.state)).toBe('v1')
})
