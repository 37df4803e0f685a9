import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import { asPartition, type Fingerprint, type Generation } from '../schemas/ids.ts'
import { MemorySchemaDirectory } from '../schemas/testing/memory-schema-directory.ts'
import { catalogTopic, controlTopic, heartbeatTopic } from '../schemas/topics.ts'
import { ControlLog } from '../topologies/control/control-log.ts'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../topologies/embedded/environment.ts'
import type { TopicSpec } from '../topologies/event-log.ts'
import { readTopicEpoch } from './topic-epoch.ts'
import { applyTopics, checkTopics, compareTopic, type TopicConfig, topicSpecs, wantedTopics } from './topic-set-up.ts'

const config: TopicConfig = {
  partitions: 4,
  log: { compactionLagMs: 3_600_000 },
  dispatch: { tombstoneRetentionMs: 604_800_000 },
}
const specs = topicSpecs(config)
const catalogSpec = specs.find(({ name }) => name === catalogTopic)!

describe('a wanted topic and what is there', () => {
  test('nothing is missing', () => {
    expect(compareTopic(catalogSpec, null)).toEqual({ topic: catalogTopic, state: 'missing', differences: [] })
  })

  test.each(specs)('$name fits itself', spec => {
    expect(compareTopic(spec, spec)).toEqual({ topic: spec.name, state: 'fits', differences: [] })
  })

  test.each<[Partial<TopicSpec>, string, string, string, string]>([
    [{ partitions: 6 }, '4', '6', 'person', 'Set partitions to 6'],
    [{ compacted: false }, 'true', 'false', 'person', 'cleanup.policy=compact'],
    [{ retentionMs: 1_000 }, 'for ever', '1s', 'apply', 'topics apply'],
    [{ minCompactionLagMs: 0 }, '1h', '0', 'apply', 'topics apply'],
    [{ tombstoneRetentionMs: 5 }, '7d', '5ms', 'apply', 'topics apply'],
    [{ producerTimes: true }, "the broker's clock", "the producers' clocks", 'apply', 'topics apply'],
  ])('%j is a difference, with what to do', (change, wanted, present, settledBy, whatToDo) => {
    const { state, differences } = compareTopic(catalogSpec, { ...catalogSpec, ...change })
    expect(state).toBe('differs')
    expect(differences).toEqual([
      { setting: Object.keys(change)[0], wanted, present, settledBy, whatToDo: expect.stringContaining(whatToDo) },
    ])
  })

  test('settings of log compaction mean nothing to a topic without', () => {
    const control = specs.find(({ name }) => name === controlTopic)!
    expect(compareTopic(control, { ...control, tombstoneRetentionMs: 86_400_000 })).toMatchObject({ state: 'fits' })
  })
})

test('heartbeats have one partition and are kept an hour', () => {
  expect(specs.find(({ name }) => name === heartbeatTopic)).toMatchObject({
    partitions: 1,
    compacted: false,
    retentionMs: 3_600_000,
  })
})

describe('on a log', () => {
  let directory: string
  let environment: EmbeddedEnvironment
  let log: EmbeddedEventLog
  let codecs: Codecs

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'freshet-topics-'))
    environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
    log = new EmbeddedEventLog(environment)
    const registry = new MemorySchemaDirectory()
    await registerSchemas(registry)
    codecs = await openCodecs(registry)
  })
  afterEach(async () => {
    await log.close()
    await environment.close()
    await rm(directory, { recursive: true })
  })

  const statesOf = (findings: readonly { readonly state: string }[]) => new Set(findings.map(({ state }) => state))

  test('apply creates all, begins each catalog partition with one epoch, and does nothing the second time', async () => {
    expect(statesOf(await checkTopics(log, specs))).toEqual(new Set(['missing']))
    const first = await applyTopics(log, specs, codecs.catalog)
    expect(statesOf(first.topics)).toEqual(new Set(['created']))
    expect(await readTopicEpoch(log, codecs.catalog)).toBe(first.topicEpoch)
    expect(await endsOf(catalogTopic)).toEqual([1, 1, 1, 1])

    const second = await applyTopics(log, specs, codecs.catalog)
    expect(statesOf(second.topics)).toEqual(new Set(['fits']))
    expect(second.topicEpoch).toBe(first.topicEpoch)
    expect(await endsOf(catalogTopic)).toEqual([1, 1, 1, 1])
    expect(statesOf(await checkTopics(log, specs))).toEqual(new Set(['fits']))
  })

  test('apply leaves a topic with other settings as it is, creates the others, and writes no markers there', async () => {
    const there = { ...catalogSpec, partitions: 2 }
    await log.ensureTopic(there)
    const { topics, topicEpoch } = await applyTopics(log, specs, codecs.catalog)
    expect(topics.find(({ topic }) => topic === catalogTopic)).toMatchObject({ state: 'differs' })
    expect(topics.filter(({ state }) => state === 'created')).toHaveLength(specs.length - 1)
    expect(topicEpoch).toBeNull()
    expect(await log.topicSpec(catalogTopic)).toEqual(there)
    expect(await endsOf(catalogTopic)).toEqual([0, 0])
  })

  test('apply sets durations that differ, once', async () => {
    await log.ensureTopic({ ...catalogSpec, tombstoneRetentionMs: 5 })
    const first = await applyTopics(log, specs, codecs.catalog)
    expect(first.topics.find(({ topic }) => topic === catalogTopic)).toMatchObject({
      state: 'changed',
      differences: [{ setting: 'tombstoneRetentionMs', present: '5ms' }],
    })
    expect(await log.topicSpec(catalogTopic)).toEqual(catalogSpec)
    expect(statesOf((await applyTopics(log, specs, codecs.catalog)).topics)).toEqual(new Set(['fits']))
  })

  test('apply leaves even the durations of a topic that needs a person', async () => {
    const there = { ...catalogSpec, partitions: 2, tombstoneRetentionMs: 5 }
    await log.ensureTopic(there)
    await applyTopics(log, specs, codecs.catalog)
    expect(await log.topicSpec(catalogTopic)).toEqual(there)
  })

  test('apply that was cut short goes on with the epoch it began', async () => {
    await log.ensureTopic(catalogSpec)
    const value = codecs.catalog.encode({ type: 'TopicEpoch', epoch: '00112233445566aa' as never })
    await log.append(catalogTopic, [{ partition: asPartition(2), key: Buffer.from('k'), value }])
    const { topicEpoch } = await applyTopics(log, specs, codecs.catalog)
    expect(topicEpoch).toBe('00112233445566aa')
    expect(await endsOf(catalogTopic)).toEqual([1, 1, 1, 1])
  })

  test.each([
    ['a record without a value', null],
    ['bytes that are no event', Buffer.from('no event')],
  ])('apply refuses a catalog that begins with %s', async (_, value) => {
    await log.ensureTopic(catalogSpec)
    await log.append(catalogTopic, [{ partition: asPartition(1), key: Buffer.from('sofa'), value }])
    await expect(applyTopics(log, specs, codecs.catalog)).rejects.toMatchObject({ code: 'topic-epoch' })
    expect(await endsOf(catalogTopic)).toEqual([0, 1, 0, 0])
  })

  test('a catalog without markers has no epoch to read', async () => {
    await log.ensureTopic(catalogSpec)
    await expect(readTopicEpoch(log, codecs.catalog)).rejects.toMatchObject({ code: 'topic-epoch' })
  })

  test('the first generation has a mutation topic before it starts; a retired one has none', async () => {
    expect(await mutationTopics()).toEqual(['freshet.mutations.g1'])
    await applyTopics(log, specs, codecs.catalog)
    expect(await mutationTopics()).toEqual(['freshet.mutations.g1'])
    await startAndRetire('g1' as Generation, 'g2' as Generation)
    expect(await mutationTopics()).toEqual(['freshet.mutations.g2'])
  })

  async function mutationTopics(): Promise<readonly string[]> {
    const wanted = await wantedTopics(config, log, codecs.control)
    const mutations = wanted.filter(({ name }) => !specs.some(spec => spec.name === name))
    expect(mutations.every(({ partitions, compacted }) => compacted && partitions === config.partitions)).toBe(true)
    return mutations.map(({ name }) => name)
  }

  async function endsOf(topic: string): Promise<readonly number[]> {
    return [...(await log.offsets(topic)).values()].map(({ end }) => end)
  }

  async function startAndRetire(retired: Generation, started: Generation): Promise<void> {
    const control = new ControlLog({ log, codec: codecs.control })
    const decided = () => ({ decidedAfter: control.state.lastAccepted, by: 'test', atMs: 1, reason: '' })
    const model = { model: 'v1', fingerprint: 'ab'.repeat(32) as Fingerprint, dims: 8 }
    await control.append({ ...decided(), type: 'ModelRegistered', ...model, manifest: '{}' })
    for (const generation of [retired, started])
      await control.append({
        ...decided(),
        type: 'GenerationStarted',
        generation,
        ...model,
        shards: 1,
        backfillUntil: [],
        topicEpoch: null,
        from: null,
        weights: '',
        index: '',
        imagesPerSecond: 0,
      })
    await control.append({ ...decided(), type: 'GenerationRetired', generation: retired, override: '' })
  }
})
