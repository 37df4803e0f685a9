import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asOffset, asPartition, type Partition } from '../../schemas/ids.ts'
import type { EventLog, LogReader, LogRecord, NewRecord, TopicSpec } from '../event-log.ts'

/** One log's storage during a test. */
export interface EventLogFixture {
  /** Opens the log; after `close` of the one before, again on the same storage. */
  open(): Promise<EventLog>
  /** Largest record accepted, key and headers included. */
  readonly maxRecordBytes: number
  dispose(): Promise<void>
}

const p0 = asPartition(0)
const p1 = asPartition(1)
const p2 = asPartition(2)
const patienceMs = 30_000

/** What every EventLog must do. */
export function eventLogContract(name: string, createFixture: () => Promise<EventLogFixture>): void {
  describe(`${name}: the event log contract`, () => {
    let fixture: EventLogFixture
    let log: EventLog
    let topic: string
    let group: string

    beforeEach(async () => {
      topic = `contract-${crypto.randomUUID()}`
      group = `${topic}-group`
      fixture = await createFixture()
      log = await fixture.open()
      await log.ensureTopic(topicSpec(topic, 3))
    })

    afterEach(async () => {
      await log.close()
      await fixture.dispose()
    })

    const reopen = async () => {
      await log.close()
      log = await fixture.open()
    }
    const readerFromStart = (partitions: readonly Partition[] = [p0, p1, p2]) =>
      log.openReader({ topic, partitions, from: new Map() })

    test('an append answers with growing offsets in the order given', async () => {
      const first = await log.append(topic, [record(p0, 'a'), record(p1, 'b'), record(p0, 'c')])
      const second = await log.append(topic, [record(p0, 'd')])
      expect([...first, ...second].map(({ partition, offset }) => [partition, offset])).toEqual([
        [0, 0],
        [1, 0],
        [0, 1],
        [0, 2],
      ])
      expect(await log.append(topic, [])).toEqual([])
    })

    test('appends issued without awaiting keep their order', async () => {
      const values = Array.from({ length: 200 }, (_, index) => `${index}`)
      await Promise.all(values.map(value => log.append(topic, [record(p0, value)])))
      const reader = await readerFromStart([p0])
      expect((await pollCount(reader, 200)).map(textOf)).toEqual(values)
    })

    test('a record comes back as it was appended', async () => {
      const sent: NewRecord[] = [
        { partition: p0, key: bytes('key'), value: bytes('value'), headers: { traceparent: '00-ab', 'x-é': 'ü 🪑' } },
        { partition: p0, key: bytes('deleted'), value: null },
        { partition: p0, key: null, value: bytes('no key') },
        { partition: p0, key: bytes('empty'), value: bytes('') },
      ]
      const appended = await log.append(topic, sent)
      const read = await pollCount(await readerFromStart([p0]), 4)
      expect(read.map(plain)).toEqual(
        sent.map((record, index) => ({
          topic,
          ...appended[index]!,
          key: record.key && Buffer.from(record.key).toString('hex'),
          value: record.value && Buffer.from(record.value).toString('hex'),
          headers: record.headers ?? {},
        })),
      )
    })

    test('append times never decrease within a partition', async () => {
      for (let round = 0; round < 5; round++) await log.append(topic, [record(p0, 'x'), record(p0, 'y')])
      const times = (await pollCount(await readerFromStart([p0]), 10)).map(({ appendTimeMs }) => appendTimeMs)
      expect(times).toEqual(times.toSorted((a, b) => a - b))
    })

    test('long keys in any script and large values fit', async () => {
      const key = bytes('椅🪑é'.repeat(60).slice(0, 240))
      const value = new Uint8Array(Math.floor(fixture.maxRecordBytes * 0.9)).map((_, index) => index % 251)
      await log.append(topic, [{ partition: p1, key, value }])
      const [read] = await pollCount(await readerFromStart([p1]), 1)
      expect(Buffer.compare(read!.key!, key)).toBe(0)
      expect(Buffer.compare(read!.value!, value)).toBe(0)
    })

    test('a record over the limit is refused with all of its call', async () => {
      const tooLarge = { partition: p0, key: bytes('k'), value: new Uint8Array(fixture.maxRecordBytes + 1) }
      await expect(log.append(topic, [record(p0, 'small'), tooLarge])).rejects.toMatchObject({
        code: 'record-too-large',
      })
      expect((await log.offsets(topic)).get(p0)).toEqual({ start: 0, end: 0 })
    })

    test('a topic that was not made is missing', async () => {
      const missing = { code: 'topic-missing' }
      await expect(log.append('absent', [record(p0, 'x')])).rejects.toMatchObject(missing)
      await expect(log.partitionCount('absent')).rejects.toMatchObject(missing)
      await expect(log.offsets('absent')).rejects.toMatchObject(missing)
      await expect(log.openReader({ topic: 'absent', partitions: [p0], from: new Map() })).rejects.toMatchObject(
        missing,
      )
    })

    test('a topic can be ensured again, but not with another partition count', async () => {
      await Promise.all([log.ensureTopic(topicSpec(topic, 3)), log.ensureTopic(topicSpec(topic, 3))])
      expect(await log.partitionCount(topic)).toBe(3)
      await expect(log.ensureTopic(topicSpec(topic, 4))).rejects.toMatchObject({ code: 'topic-mismatch' })
    })

    test('a topic tells how it is kept', async () => {
      const kept: TopicSpec = {
        name: `${topic}-kept`,
        partitions: 2,
        compacted: true,
        retentionMs: null,
        minCompactionLagMs: 60_000,
        tombstoneRetentionMs: 120_000,
      }
      await log.ensureTopic(kept)
      expect(await log.topicSpec(kept.name)).toEqual(kept)
      await log.ensureTopic({ ...kept, minCompactionLagMs: 90_000 })
      expect(await log.topicSpec(kept.name)).toEqual({ ...kept, minCompactionLagMs: 90_000 })
      expect(await log.topicSpec(`${topic}-absent`)).toBeNull()
      const expiring = { ...topicSpec(`${topic}-expiring`, 1), retentionMs: 3_600_000 }
      await log.ensureTopic(expiring)
      expect(await log.topicSpec(expiring.name)).toEqual(expiring)
    })

    test('records, offsets, topics and commits are there after opening again', async () => {
      await log.append(topic, [record(p0, 'a'), record(p0, 'b'), record(p2, 'c')])
      const reader = await log.openReader({ topic, partitions: [p0], group, from: 'committed' })
      await reader.commit(new Map([[p0, asOffset(1)]]))
      await reopen()
      expect(await log.partitionCount(topic)).toBe(3)
      expect((await log.offsets(topic)).get(p0)).toEqual({ start: 0, end: 2 })
      expect(await log.committed(group, topic)).toEqual(new Map([[p0, 1]]))
      expect((await log.append(topic, [record(p0, 'd')])).map(({ offset }) => offset)).toEqual([2])
      const read = await pollCount(await readerFromStart(), 4)
      expect(read.filter(({ partition }) => partition === p0).map(textOf)).toEqual(['a', 'b', 'd'])
    })

    test('a reader resumes at its group’s commit, and at the start where there is none', async () => {
      await log.append(topic, [record(p0, 'a'), record(p0, 'b'), record(p1, 'c')])
      const first = await log.openReader({ topic, partitions: 'group', group, from: 'committed' })
      await pollCount(first, 3)
      await first.commit(new Map([[p0, asOffset(1)]]))
      await first.close()
      const second = await log.openReader({ topic, partitions: 'group', group, from: 'committed' })
      expect((await pollCount(second, 2)).map(textOf).toSorted()).toEqual(['b', 'c'])
      await second.close()
      const other = await log.openReader({ topic, partitions: 'group', group: `${group}-other`, from: 'committed' })
      expect((await pollCount(other, 3)).map(textOf).toSorted()).toEqual(['a', 'b', 'c'])
    })

    test('a group on its own is assigned every partition', async () => {
      await log.append(topic, [record(p0, 'a')])
      const reader = await log.openReader({ topic, partitions: 'group', group, from: 'committed' })
      await pollCount(reader, 1)
      expect(reader.assignment().partitions.toSorted()).toEqual([0, 1, 2])
    })

    test('a reader begins at given offsets', async () => {
      await log.append(
        topic,
        ['a', 'b', 'c'].map(value => record(p0, value)),
      )
      const reader = await log.openReader({ topic, partitions: [p0, p1], from: new Map([[p0, asOffset(2)]]) })
      expect(reader.position(p0)).toBe(2)
      expect((await pollCount(reader, 1)).map(textOf)).toEqual(['c'])
      expect(reader.position(p0)).toBe(3)
      expect(reader.position(p1)).toBe(0)
    })

    test('an offset beyond the end is out of range', async () => {
      await log.append(topic, [record(p0, 'a')])
      const atEnd = await log.openReader({ topic, partitions: [p0], from: new Map([[p0, asOffset(1)]]) })
      expect(await atEnd.poll(10, 0)).toEqual([])
      await expect(
        log.openReader({ topic, partitions: [p0], from: new Map([[p0, asOffset(2)]]) }),
      ).rejects.toMatchObject({ code: 'offset-out-of-range' })
    })

    test('an append wakes a waiting poll', async () => {
      const reader = await readerFromStart()
      const polled = reader.poll(10, patienceMs)
      await log.append(topic, [record(p1, 'wake')])
      expect((await polled).map(textOf)).toEqual(['wake'])
    })

    test('closing wakes a waiting poll', async () => {
      const reader = await readerFromStart()
      const polled = reader.poll(10, patienceMs)
      await reader.close()
      expect(await polled).toEqual([])
    })

    test('an idle poll ends with nothing', async () => {
      const reader = await readerFromStart()
      expect(await reader.poll(10, 1)).toEqual([])
    })

    test('a poll returns no more than asked for', async () => {
      await log.append(
        topic,
        Array.from({ length: 50 }, (_, index) => record(p0, `${index}`)),
      )
      const reader = await readerFromStart()
      let read = 0
      while (read < 50) {
        const records = await reader.poll(7, patienceMs)
        expect(records.length).toBeLessThanOrEqual(7)
        read += records.length
      }
    })

    test('a paused partition delivers nothing until it is resumed', async () => {
      await log.append(topic, [record(p0, 'a'), record(p1, 'b')])
      const reader = await readerFromStart([p0, p1])
      reader.pause([p0])
      expect((await pollCount(reader, 1)).map(textOf)).toEqual(['b'])
      expect(await reader.poll(10, 1)).toEqual([])
      const polled = reader.poll(10, patienceMs)
      reader.resume([p0])
      expect((await polled).map(textOf)).toEqual(['a'])
    })

    test('readers of one topic do not disturb each other', async () => {
      await log.append(topic, [record(p0, 'a'), record(p0, 'b')])
      const first = await readerFromStart([p0])
      const second = await readerFromStart([p0])
      expect((await pollCount(first, 2)).map(textOf)).toEqual(['a', 'b'])
      await first.close()
      expect((await pollCount(second, 2)).map(textOf)).toEqual(['a', 'b'])
    })

    test('a reader sees only its partitions', async () => {
      await log.append(topic, [record(p0, 'a'), record(p1, 'b'), record(p2, 'c')])
      const reader = await readerFromStart([p1])
      expect((await pollCount(reader, 1)).map(textOf)).toEqual(['b'])
      expect(await reader.poll(10, 1)).toEqual([])
    })

    test('a partition with much to read does not starve another', async () => {
      const many = Array.from({ length: 2000 }, () => record(p0, 'many'))
      await log.append(topic, [...many, record(p1, 'few')])
      const reader = await readerFromStart([p0, p1])
      const seen: string[] = []
      while (!seen.includes('few')) seen.push(...(await reader.poll(100, patienceMs)).map(textOf))
      expect(seen.length).toBeLessThan(2000)
    })

    test('a deleted topic is gone: its readers end, it takes nothing, and one of its name begins anew', async () => {
      const other = `${topic}-other`
      await log.ensureTopic(topicSpec(other, 1))
      await log.append(other, [record(p0, 'stays')])
      await log.append(topic, [record(p0, 'a'), record(p1, 'b')])
      const reader = await log.openReader({ topic, partitions: [p0, p1, p2], from: new Map(), group })
      await pollCount(reader, 2)
      const waiting = pollUntilItEnds(reader)
      await log.deleteTopic(topic)
      expect(await waiting).toMatchObject({ code: 'topic-missing' })
      await reader.close()
      expect(await log.topicSpec(topic)).toBeNull()
      await expect(log.append(topic, [record(p0, 'late')])).rejects.toMatchObject({ code: 'topic-missing' })
      await log.deleteTopic(topic)
      await reopen()
      expect(await log.topicSpec(topic)).toBeNull()
      await log.deleteTopic(topic)
      await log.ensureTopic(topicSpec(topic, 3))
      expect([...(await log.offsets(topic)).values()]).toEqual([0, 1, 2].map(() => ({ start: 0, end: 0 })))
      await log.append(topic, [record(p1, 'new')])
      expect((await pollCount(await readerFromStart(), 1)).map(textOf)).toEqual(['new'])
      const untouched = await log.openReader({ topic: other, partitions: [p0], from: new Map() })
      expect((await pollCount(untouched, 1)).map(textOf)).toEqual(['stays'])
    })

    test('a topic that never was is deleted without a word', async () => {
      await log.deleteTopic(`${topic}-never`)
      expect(await log.topicSpec(`${topic}-never`)).toBeNull()
    })
  })
}

function topicSpec(name: string, partitions: number): TopicSpec {
  return {
    name,
    partitions,
    compacted: false,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  }
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function record(partition: Partition, value: string): NewRecord {
  return { partition, key: bytes(`key of ${value}`), value: bytes(value) }
}

function textOf(record: LogRecord): string {
  return new TextDecoder().decode(record.value!)
}

function plain(record: LogRecord): object {
  const { key, value } = record
  return { ...record, key: key && Buffer.from(key).toString('hex'), value: value && Buffer.from(value).toString('hex') }
}

/** What ended it. */
async function pollUntilItEnds(reader: LogReader): Promise<unknown> {
  const startedMs = performance.now()
  try {
    while (performance.now() - startedMs < patienceMs) await reader.poll(10, 500)
    return null
  } catch (thrown) {
    return thrown
  }
}

async function pollCount(reader: LogReader, count: number): Promise<readonly LogRecord[]> {
  const records: LogRecord[] = []
  while (records.length < count) {
    const polled = await reader.poll(count - records.length, patienceMs)
    if (polled.length === 0) throw new Error(`${records.length} of ${count} records came`)
    records.push(...polled)
  }
  return records
}
