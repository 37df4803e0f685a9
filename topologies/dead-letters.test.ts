import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import { type DeadLetter, deadLetterId } from '../schemas/dead-letter.ts'
import { asPartition } from '../schemas/ids.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import { catalogTopic, deadLetterTopic } from '../schemas/topics.ts'
import { DeadLetters } from './dead-letters.ts'
import type { RedriveOutcome } from './dispatch/dispatch-state.ts'
import { EmbeddedEventLog } from './embedded/embedded-event-log.ts'
import { openKeyValueStore } from './embedded/embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from './embedded/embedded-schema-registry.ts'
import { EmbeddedEnvironment } from './embedded/environment.ts'

let directory: string
let environment: EmbeddedEnvironment
let log: EmbeddedEventLog
let codec: RecordCodec<DeadLetter>
let nowMs = 1_000
let outcome: RedriveOutcome = 'queued'
let letters: DeadLetters

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-letters-'))
  environment = await EmbeddedEnvironment.open({ directory, clock: () => nowMs })
  log = new EmbeddedEventLog(environment)
  const registry = new EmbeddedSchemaRegistry(openKeyValueStore(environment, 'schemas'))
  await registerSchemas(registry)
  codec = (await openCodecs(registry)).deadLetters
  await log.ensureTopic({
    name: deadLetterTopic,
    partitions: 3,
    compacted: false,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
  const store = openKeyValueStore(environment, 'state')
  letters = new DeadLetters({ log, store, codec, redrive: async () => outcome })
})

afterEach(async () => {
  await environment.close()
  await rm(directory, { recursive: true })
})

/** A letter a millisecond after the one before; returns its id. */
async function write(partition: number): Promise<string> {
  nowMs++
  const letter: DeadLetter = {
    type: 'DeadLetter',
    sourceTopic: catalogTopic,
    sourcePartition: partition,
    sourceOffset: 7,
    generation: '',
    stage: 'dispatch',
    code: 'misrouted',
    message: 'in the wrong partition',
    attempts: 1,
    failedAtMs: nowMs,
    traceparent: '',
    key: Buffer.from('lamp'),
    value: null,
    job: null,
  }
  const [appended] = await log.append(deadLetterTopic, [
    { partition: asPartition(partition), key: Buffer.from('lamp'), value: codec.encode(letter) },
  ])
  return deadLetterId(partition, appended!.offset)
}

test('pages go from the newest to the oldest over all partitions, each letter once', async () => {
  const written: string[] = []
  for (let n = 0; n < 200; n++) written.push(await write((n * n) % 3))
  const listed: string[] = []
  let after: string | null = null
  do {
    const page = await letters.list(after === null ? { limit: 13 } : { limit: 13, after })
    expect(page.letters.length).toBeLessThanOrEqual(13)
    listed.push(...page.letters.map(({ id }) => id))
    after = page.next
  } while (after !== null)
  expect(listed).toEqual(written.toReversed())
})

test('what was handled is listed only when asked for', async () => {
  const [one, two, three] = [await write(0), await write(1), await write(2)]
  await letters.markHandled(two, 'dropped')
  const ids = async (includeHandled: boolean) =>
    (await letters.list({ limit: 10, includeHandled })).letters.map(({ id, handled }) => [id, handled])
  expect(await ids(false)).toEqual([
    [three, null],
    [one, null],
  ])
  expect(await ids(true)).toEqual([
    [three, null],
    [two, 'dropped'],
    [one, null],
  ])
})

test.each([
  ['queued', 'redriven'],
  ['superseded', 'dropped'],
  ['done', 'dropped'],
  ['foreign', null],
] as const)('a redrive that is %s leaves the letter %s', async (result, handled) => {
  outcome = result
  const id = await write(1)
  expect(await letters.redrive(id)).toBe(result)
  expect(await letters.show(id)).toMatchObject({ id, handled, letter: { code: 'misrouted' } })
})

test.each(['9-0', '0-0', '1-1', 'x', '1', '1-2-3', '-1-0'])('there is no letter %s', async id => {
  await write(1)
  for (const call of [letters.show(id), letters.redrive(id), letters.markHandled(id, 'dropped')])
    await expect(call).rejects.toMatchObject({ code: 'dead-letter-not-found' })
})

test.each(['', 'nonsense', Buffer.from('[[0]]').toString('base64url')])('%j is no cursor', async after => {
  await expect(letters.list({ limit: 1, after })).rejects.toMatchObject({ code: 'bad-request' })
})

test('an empty topic has an empty last page', async () => {
  expect(await letters.list({ limit: 5 })).toEqual({ letters: [], next: null })
})
