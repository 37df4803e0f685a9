import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import { asOffset, asPartition, type Fingerprint, type Generation, type TopicEpoch } from '../../schemas/ids.ts'
import { controlTopic } from '../../schemas/topics.ts'
import { EmbeddedEventLog } from '../embedded/embedded-event-log.ts'
import { openKeyValueStore } from '../embedded/embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from '../embedded/embedded-schema-registry.ts'
import { EmbeddedEnvironment } from '../embedded/environment.ts'
import { ControlLog } from './control-log.ts'
import { ensureFirstGeneration, type FirstGeneration } from './first-generation.ts'

let directory: string
let environment: EmbeddedEnvironment
let log: EmbeddedEventLog
let codecs: Codecs

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-control-'))
  environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  log = new EmbeddedEventLog(environment)
  const registry = new EmbeddedSchemaRegistry(openKeyValueStore(environment, 'schemas'))
  await registerSchemas(registry)
  codecs = await openCodecs(registry)
  await log.ensureTopic({
    name: controlTopic,
    partitions: 1,
    compacted: false,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
})

afterEach(async () => {
  await environment.close()
  await rm(directory, { recursive: true })
})

const open = () => new ControlLog({ log, codec: codecs.control })
const end = async () => (await log.offsets(controlTopic)).get(asPartition(0))!.end

const first: FirstGeneration = {
  generation: 'g1' as Generation,
  model: 'v1',
  fingerprint: 'a'.repeat(64) as Fingerprint,
  dims: 256,
  manifest: '{"name":"v1"}',
  shards: 1,
  backfillUntil: [asOffset(3), asOffset(0)],
  topicEpoch: '00000000000000aa' as TopicEpoch,
  by: 'test',
  nowMs: 1,
}

test('the first start registers, builds and routes; later starts change nothing', async () => {
  const started = await ensureFirstGeneration(open(), first)
  expect(started).toMatchObject({ state: 'active', share: 1, started: { backfillUntil: [3, 0] } })
  expect(await end()).toBe(3)
  const again = await ensureFirstGeneration(open(), { ...first, backfillUntil: [asOffset(9), asOffset(9)] })
  expect(again.started.backfillUntil).toEqual([3, 0])
  expect(await end()).toBe(3)
})

test.each([1, 2])('a first start that was cut short after %i records goes on there', async records => {
  const { generation, model, fingerprint, dims, manifest, shards, backfillUntil, topicEpoch } = first
  const control = open()
  const decided = (after: number) => ({ decidedAfter: asOffset(after), by: 'test', atMs: 1, reason: '' })
  await control.append({ ...decided(-1), type: 'ModelRegistered', model, fingerprint, dims, manifest })
  if (records === 2)
    await control.append({
      ...decided(0),
      type: 'GenerationStarted',
      generation,
      model,
      fingerprint,
      dims,
      shards,
      backfillUntil,
      topicEpoch,
      from: null,
      weights: '',
      index: '',
      imagesPerSecond: 0,
    })
  expect(await ensureFirstGeneration(open(), first)).toMatchObject({ state: 'active', share: 1 })
  expect(await end()).toBe(3)
})

test('a generation built with another model is not started again', async () => {
  await ensureFirstGeneration(open(), first)
  const changed = { ...first, fingerprint: 'b'.repeat(64) as Fingerprint }
  await expect(ensureFirstGeneration(open(), changed)).rejects.toMatchObject({ code: 'fingerprint-mismatch' })
})

test('a generation built from a catalog that was created again since is not started again', async () => {
  await ensureFirstGeneration(open(), first)
  const recreated = { ...first, topicEpoch: '00000000000000bb' as TopicEpoch }
  await expect(ensureFirstGeneration(open(), recreated)).rejects.toMatchObject({ code: 'topic-epoch' })
  expect(await end()).toBe(3)
})

test('two operators who decide on the same state do not both win, and both see why', async () => {
  await ensureFirstGeneration(open(), first)
  const [one, other] = [open(), open()]
  const { lastAccepted } = await one.refresh()
  await other.refresh()
  const decision = { decidedAfter: lastAccepted, by: 'one', atMs: 2, reason: '' }
  const results = await Promise.allSettled(
    [one, other].map(control =>
      control.append({ ...decision, type: 'RoutingChanged', shares: { g1: 1 }, override: '', rebuilds: {} }),
    ),
  )
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  const lost = results.find(result => result.status === 'rejected')
  expect(lost?.reason).toMatchObject({ code: 'control-conflict' })
  for (const control of [one, other, open()]) {
    const state = await control.refresh()
    expect(state.lastAccepted).toBe(lastAccepted + 1)
    expect(control.rejections.length).toBe((await end()) - lastAccepted - 2)
  }
})

test('a control record that cannot be read stops every decision', async () => {
  await log.append(controlTopic, [{ partition: asPartition(0), key: null, value: Buffer.from('garbage') }])
  await expect(open().refresh()).rejects.toMatchObject({ code: 'record-undecodable' })
})
