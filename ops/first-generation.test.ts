import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import type { Fingerprint, Generation, TopicEpoch } from '../schemas/ids.ts'
import { MemorySchemaDirectory } from '../schemas/testing/memory-schema-directory.ts'
import { ControlLog } from '../topologies/control/control-log.ts'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { TemporaryEnvironment } from '../topologies/embedded/testing/temporary-environment.ts'
import { parseConfig } from './config.ts'
import { startFirstGeneration } from './first-generation.ts'
import type { LogPorts } from './storage.ts'
import { topicSpecs } from './topic-set-up.ts'

const { config } = parseConfig({ machine: { cores: 2 }, workingDir: '/', environment: {}, flags: { shards: '2' } })
const model = { model: 'v1', fingerprint: 'f'.repeat(64) as Fingerprint, dims: 256 }

let environment: TemporaryEnvironment
let ports: LogPorts

beforeEach(async () => {
  environment = await TemporaryEnvironment.create()
  const log = new EmbeddedEventLog(await environment.open())
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  for (const spec of topicSpecs(config)) await log.ensureTopic(spec)
  const topicEpoch = '00000000000000aa' as TopicEpoch
  ports = { log, codecs: await openCodecs(schemas), partitions: config.partitions, topicEpoch }
})

afterEach(async () => {
  await ports.log.close()
  await environment.dispose()
})

test('of processes that make it at once, each record counts once and all get the same answer', async () => {
  const names = ['a', 'b', 'c', 'd']
  const clock = () => 1_000
  const made = await Promise.all(names.map(by => startFirstGeneration({ config, ports, model, by, clock })))
  expect(new Set(made.map(status => JSON.stringify(status))).size).toBe(1)
  expect(made[0]).toMatchObject({ state: 'active', share: 1, started: { generation: 'g1', shards: 2 } })
  const control = new ControlLog({ log: ports.log, codec: ports.codecs.control })
  const { models, generations } = await control.refresh()
  expect([models.size, generations.size]).toEqual([1, 1])
})

test('one that finds after a record of its own that a rival has done the rest has the rival’s answer', async () => {
  const options = { config, model, clock: () => 1_000 }
  const append = ports.log.append.bind(ports.log)
  let theirs: Promise<unknown> | null = null
  vi.spyOn(ports.log, 'append').mockImplementation(async (...args) => {
    const appended = await append(...args)
    vi.restoreAllMocks()
    theirs = startFirstGeneration({ ...options, ports, by: 'rival' })
    await theirs
    return appended
  })
  const ours = await startFirstGeneration({ ...options, ports, by: 'a' })
  expect(ours).toEqual(await theirs)
  expect(ours.started.by).toBe('rival')
})

test('one that was begun before epochs were recorded goes on, whatever the catalog has', async () => {
  const options = { config, ports, model, by: 'a', clock: () => 1_000 }
  const control = new ControlLog({ log: ports.log, codec: ports.codecs.control })
  const decided = { by: 'a', atMs: 1, reason: '' }
  const manifest = JSON.stringify(model)
  const { lastAccepted } = await control.refresh()
  await control.append({ ...decided, ...model, type: 'ModelRegistered', decidedAfter: lastAccepted, manifest })
  await control.append({
    ...decided,
    ...model,
    type: 'GenerationStarted',
    decidedAfter: control.state.lastAccepted,
    generation: 'g1' as Generation,
    shards: 2,
    backfillUntil: [],
    topicEpoch: null,
    from: null,
    weights: '',
    index: '',
    imagesPerSecond: 0,
  })
  expect(await startFirstGeneration(options)).toMatchObject({ share: 1, started: { topicEpoch: null } })
})

test('another model is refused', async () => {
  const options = { config, ports, by: 'a', clock: () => 1_000 }
  await startFirstGeneration({ ...options, model })
  const other = { ...model, fingerprint: 'e'.repeat(64) as Fingerprint }
  await expect(startFirstGeneration({ ...options, model: other })).rejects.toMatchObject({
    code: 'fingerprint-mismatch',
  })
})
