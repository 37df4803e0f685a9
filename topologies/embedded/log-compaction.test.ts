import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asOffset, asPartition } from '../../schemas/ids.ts'
import type { LogReader, LogRecord, NewRecord, TopicSpec } from '../event-log.ts'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

const partition = asPartition(0)
const lagMs = 1000
const tombstoneRetentionMs = 5000
const compacted: TopicSpec = {
  name: 'compacted',
  partitions: 2,
  compacted: true,
  retentionMs: null,
  minCompactionLagMs: lagMs,
  tombstoneRetentionMs,
}
const expiring: TopicSpec = { ...compacted, name: 'expiring', compacted: false, retentionMs: 1000 }

let temporary: TemporaryEnvironment
let environment: EmbeddedEnvironment
let log: EmbeddedEventLog

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  await open()
})

afterEach(() => temporary.dispose())

async function open(): Promise<void> {
  environment = await temporary.open()
  log = new EmbeddedEventLog(environment)
  await log.ensureTopic(compacted)
  await log.ensureTopic(expiring)
}

async function compactLater(ms: number): Promise<void> {
  temporary.now += ms
  await environment.compactNow()
}

async function readAll(topic: string): Promise<readonly LogRecord[]> {
  const reader = await log.openReader({ topic, partitions: [partition], from: new Map() })
  const records = await drain(reader, 3)
  await reader.close()
  return records
}

async function drain(reader: LogReader, pollSize: number): Promise<readonly LogRecord[]> {
  const records: LogRecord[] = []
  for (let polled = await reader.poll(pollSize, 0); polled.length > 0; polled = await reader.poll(pollSize, 0))
    records.push(...polled)
  return records
}

function keyed(key: string | null, value: string | null): NewRecord {
  return { partition, key: key === null ? null : Buffer.from(key), value: value === null ? null : Buffer.from(value) }
}

const textOf = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString())
const shown = (records: readonly LogRecord[]) =>
  records.map(({ offset, key, value }) => [offset, textOf(key), textOf(value)])

describe('log compaction', () => {
  test('a partition in which records keep becoming due does not keep the others waiting', async () => {
    const waiting = asPartition(1)
    await log.append('compacted', [
      { ...keyed('a', 'old'), partition: waiting },
      { ...keyed('a', 'new'), partition: waiting },
    ])
    await log.append('compacted', [keyed('busy', 'first')])
    temporary.now += lagMs
    const compacting = environment.compactNow()
    let left = 2
    for (let i = 0; i < 300 && left > 1; i++) {
      await log.append('compacted', [keyed('busy', `${i}`), keyed('busy', `${i} again`)])
      temporary.now += lagMs
      const reader = await log.openReader({ topic: 'compacted', partitions: [waiting], from: new Map() })
      left = (await drain(reader, 10)).length
      await reader.close()
    }
    await compacting
    expect(left).toBe(1)
  })

  test('keeps the last record per key and every record without a key, at their offsets', async () => {
    await log.append('compacted', [keyed('a', '0'), keyed('b', '1'), keyed(null, '2'), keyed('a', '3')])
    await log.append('compacted', [keyed('a', '4'), keyed(null, '5'), keyed('c', '6')])
    await compactLater(lagMs)
    expect(shown(await readAll('compacted'))).toEqual([
      [1, 'b', '1'],
      [2, null, '2'],
      [4, 'a', '4'],
      [5, null, '5'],
      [6, 'c', '6'],
    ])
    expect((await log.offsets('compacted')).get(partition)).toEqual({ start: 1, end: 7 })
  })

  test('leaves what is younger than the lag, and what only that supersedes', async () => {
    await log.append('compacted', [keyed('a', '0'), keyed('a', '1')])
    temporary.now += lagMs
    await log.append('compacted', [keyed('a', '2'), keyed('a', '3')])
    await compactLater(lagMs - 1)
    expect(shown(await readAll('compacted')).map(([offset]) => offset)).toEqual([1, 2, 3])
    await compactLater(1)
    expect(shown(await readAll('compacted')).map(([offset]) => offset)).toEqual([3])
  })

  test('a null value removes what came before, stays for its retention, then goes; the end does not move', async () => {
    await log.append('compacted', [keyed('a', '0'), keyed('b', '1'), keyed('a', null)])
    await compactLater(lagMs)
    expect(shown(await readAll('compacted'))).toEqual([
      [1, 'b', '1'],
      [2, 'a', null],
    ])
    await compactLater(tombstoneRetentionMs - 1)
    expect(await readAll('compacted')).toHaveLength(2)
    await compactLater(1)
    expect(shown(await readAll('compacted'))).toEqual([[1, 'b', '1']])
    await open()
    expect((await log.append('compacted', [keyed('a', '3')])).map(({ offset }) => offset)).toEqual([3])
  })

  test('a committed offset in a gap, or below the first record, is a fine place to go on', async () => {
    await log.append(
      'compacted',
      ['0', '1', '2', '3'].map(value => keyed('a', value)),
    )
    await compactLater(lagMs)
    const from = new Map([[partition, asOffset(1)]])
    const reader = await log.openReader({ topic: 'compacted', partitions: [partition], from })
    expect(shown(await reader.poll(10, 0))).toEqual([[3, 'a', '3']])
    expect(reader.position(partition)).toBe(4)
  })

  test('a reader waits, and does not spin, at an end whose last records are gone', async () => {
    await log.append('compacted', [keyed('a', '0'), keyed('a', null)])
    const reader = await log.openReader({ topic: 'compacted', partitions: [partition], from: new Map() })
    await compactLater(lagMs)
    await compactLater(tombstoneRetentionMs)
    expect(await reader.poll(10, 0)).toEqual([])
    const polled = reader.poll(10, 30_000)
    await log.append('compacted', [keyed('b', '2')])
    expect(shown(await polled)).toEqual([[2, 'b', '2']])
  })

  test('the file stays bounded when all items are written again and again', async () => {
    const items = Array.from({ length: 150 }, (_, index) => keyed(`item-${index}`, 'x'.repeat(2000)))
    const rewrite = async () => {
      await log.append('compacted', items)
      await compactLater(lagMs)
      return (await stat(join(environment.directory, 'data.mdb'))).size
    }
    const once = await rewrite()
    let after = once
    for (let round = 0; round < 30; round++) after = await rewrite()
    expect(await readAll('compacted')).toHaveLength(150)
    expect(after).toBeLessThanOrEqual(3 * once)
  })
})

describe('retention', () => {
  test('records expire in order and the start moves, also for those who committed below it', async () => {
    await log.append('expiring', [keyed('a', '0'), keyed('a', '1')])
    temporary.now += 600
    await log.append('expiring', [keyed('a', '2')])
    await compactLater(600)
    expect(shown(await readAll('expiring'))).toEqual([[2, 'a', '2']])
    expect((await log.offsets('expiring')).get(partition)).toEqual({ start: 2, end: 3 })
    await compactLater(600)
    expect(await readAll('expiring')).toEqual([])
    await open()
    expect((await log.offsets('expiring')).get(partition)).toEqual({ start: 3, end: 3 })
    const from = new Map([[partition, asOffset(2)]])
    await expect(log.openReader({ topic: 'expiring', partitions: [partition], from })).rejects.toMatchObject({
      code: 'offset-out-of-range',
    })
  })
})

/** What happens to a log, in any order. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('append' as const), records: records() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('elapse' as const), ms: fc.integer({ min: 0, max: 3000 }) }) },
  { weight: 3, arbitrary: fc.constant({ do: 'compact' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('poll' as const), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'reopen' as const }) },
)

function records() {
  const key = fc.constantFrom('a', 'b', '椅', null)
  const isNull = fc.boolean()
  return fc.array(fc.record({ key, isNull }), { minLength: 1, maxLength: 5 })
}

interface ModelRecord {
  readonly key: string | null
  readonly value: string | null
  readonly timeMs: number
  /** When log compaction first looked at it, for null values. */
  seenAtMs: number | null
  removed: boolean
}

/** The law, said without an index: what a full scan of all records ever appended would keep. */
function compactModel(model: readonly ModelRecord[], now: number): void {
  const old = model.filter(({ timeMs }) => timeMs <= now - lagMs)
  for (const [offset, record] of old.entries()) {
    if (record.key === null) continue
    if (record.value === null) {
      record.seenAtMs ??= now
      record.removed ||= record.seenAtMs <= now - tombstoneRetentionMs
    } else record.removed ||= old.some((later, at) => at > offset && later.key === record.key)
  }
}

test('after any appends, log compactions and restarts the log holds what the law says, and a concurrent reader misses no key’s last record', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async steps => {
      await temporary.dispose()
      temporary = await TemporaryEnvironment.create()
      await open()
      const model: ModelRecord[] = []
      const seen: LogRecord[] = []
      const from = () => new Map([[partition, asOffset((seen.at(-1)?.offset ?? -1) + 1)]])
      const openReader = () => log.openReader({ topic: 'compacted', partitions: [partition], from: from() })
      let reader = await openReader()
      for (const next of steps) {
        switch (next.do) {
          case 'append': {
            const appended = next.records.map(({ key, isNull }, index) => ({
              key,
              value: isNull && key !== null ? null : `${model.length + index}`,
            }))
            await log.append(
              'compacted',
              appended.map(({ key, value }) => keyed(key, value)),
            )
            model.push(...appended.map(one => ({ ...one, timeMs: temporary.now, seenAtMs: null, removed: false })))
            break
          }
          case 'elapse':
            temporary.now += next.ms
            break
          case 'compact':
            await environment.compactNow()
            compactModel(model, temporary.now)
            break
          case 'poll':
            seen.push(...(await reader.poll(next.count, 0)))
            break
          case 'reopen':
            await open()
            reader = await openReader()
            break
        }
      }
      seen.push(...(await drain(reader, 2)))
      const kept = model.flatMap(({ key, value, removed }, offset) => (removed ? [] : [{ offset, key, value }]))
      expect(shown(await readAll('compacted'))).toEqual(kept.map(({ offset, key, value }) => [offset, key, value]))
      const offsets = seen.map(({ offset }) => offset)
      expect(offsets).toEqual([...new Set(offsets)].toSorted((a, b) => a - b))
      const lastSeen = new Map(seen.map(({ offset, key }) => [textOf(key), offset]))
      for (const { offset, key, value } of kept) {
        const isLast = model.findLastIndex(later => later.key === key) === offset
        if (isLast && value !== null) expect(lastSeen.get(key)).toBe(offset)
      }
    }),
    { numRuns: 50 },
  )
})
