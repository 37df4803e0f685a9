import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { asPartition } from '../../schemas/ids.ts'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import { EmbeddedFeatureStore } from './embedded-feature-store.ts'
import { openKeyValueStore } from './embedded-key-value-store.ts'
import { EmbeddedWorkQueue } from './embedded-work-queue.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

// Files written by `testing/write-golden-environment.ts` when their format was the present one.
const golden = join(import.meta.dirname, 'golden')
const partition = asPartition(1)

let temporary: TemporaryEnvironment

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
})

afterEach(() => temporary.dispose())

const text = (bytes: Uint8Array | null | undefined) => (bytes ? Buffer.from(bytes).toString() : bytes)

test('an environment of format 1 reads as it was written', async () => {
  await mkdir(join(temporary.directory, 'log'))
  await copyFile(join(golden, 'format-1.mdb'), join(temporary.directory, 'log', 'data.mdb'))
  const startMs = temporary.now
  temporary.now += 2000
  const environment = await temporary.open()

  const log = new EmbeddedEventLog(environment)
  const reader = await log.openReader({ topic: 'golden', partitions: [partition], from: new Map() })
  const records = await reader.poll(10, 0)
  expect(
    records.map(({ offset, appendTimeMs, key, value, headers }) => [
      offset,
      appendTimeMs - startMs,
      text(key),
      text(value),
      headers,
    ]),
  ).toEqual([
    [2, 0, 'a', 'new', { traceparent: '00-é' }],
    [3, 0, 'b', null, {}],
    [4, 0, null, 'no key', {}],
    [5, 2000, 'a', 'young', {}],
  ])
  expect(await log.committed('readers', 'golden')).toEqual(new Map([[partition, 4]]))

  const queue = new EmbeddedWorkQueue(environment)
  expect(
    (await queue.claim(10, 1000, 0)).map(({ id, attempt, priority, payload }) => [
      id,
      attempt,
      priority,
      text(payload),
    ]),
  ).toEqual([
    ['claimed', 2, 'standby', 'claimed'],
    ['waiting', 1, 'standby', 'waiting'],
  ])
  expect(await queue.depth()).toMatchObject({ delayed: 1 })
  expect(await new EmbeddedFeatureStore(environment).read(['hint:g:椅'])).toEqual([17])
  expect(text(openKeyValueStore(environment, 'items').get('i:椅'))).toBe('row')

  // The index of log compaction and the tombstones are read too.
  temporary.now += 5000
  await environment.compactNow()
  const again = await log.openReader({ topic: 'golden', partitions: [partition], from: new Map() })
  expect((await again.poll(10, 0)).map(({ offset }) => offset)).toEqual([4, 5])
})
