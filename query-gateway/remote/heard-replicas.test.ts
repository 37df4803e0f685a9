import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Heartbeat } from '../../schemas/heartbeat.ts'
import { asPartition, asShardId, type Generation, type ReplicaId } from '../../schemas/ids.ts'
import { HeardReplicas, type Hearing } from './heard-replicas.ts'

const hourMs = 3_600_000
/** The log's clock at the start of each test; those of the replicas may differ from it, ours has nothing to do with it. */
const logMs = 1_767_225_600_000
const replica = 'g1-0-a' as ReplicaId

interface Life {
  readonly address: string
  /** By the clock of the log. */
  readonly beganAtMs: number
  /** How wrong the clock of its machine is. */
  readonly skewMs: number
}

const heartbeat = ({ address, beganAtMs, skewMs }: Life, atMs: number, of: ReplicaId = replica): Heartbeat => ({
  type: 'Heartbeat',
  role: 'shard',
  replica: of,
  shard: asShardId(0),
  generation: 'g1' as Generation,
  address,
  partitions: [asPartition(0)],
  state: 'ready',
  applied: {},
  watermarks: {},
  indexAgeMs: 0,
  startedAtMs: beganAtMs + skewMs,
  sequence: atMs - beganAtMs,
  writtenAtMs: atMs + skewMs,
})

test('whatever the clocks of two lives say, in whatever order they are first heard, the one that began later is held', () => {
  const skew = fc.integer({ min: -2 * hourMs, max: 2 * hourMs })
  const age = fc.integer({ min: 1, max: hourMs })
  const order = fc.array(fc.constantFrom('older', 'newer'), { minLength: 2, maxLength: 12 })
  fc.assert(
    fc.property(skew, skew, age, order, (olderSkew, newerSkew, apartMs, beats) => {
      const older: Life = { address: 'http://a:1', beganAtMs: logMs - apartMs, skewMs: olderSkew }
      const newer: Life = { address: 'http://b:1', beganAtMs: logMs, skewMs: newerSkew }
      const heard = new HeardReplicas()
      const seen = new Set<string>()
      beats.forEach((who, index) => {
        const atMs = logMs + (index + 1) * 100
        const hearing = heard.hear(heartbeat(who === 'older' ? older : newer, atMs), atMs, index)
        seen.add(who)
        const expected: Hearing = who === 'older' && seen.has('newer') ? 'rival' : 'news'
        expect(hearing).toBe(expected)
        expect(heard.get(replica)?.heartbeat.address).toBe(seen.has('newer') ? newer.address : older.address)
      })
    }),
  )
})

test('a life whose clock jumps stays as old as it was', () => {
  const heard = new HeardReplicas()
  const older: Life = { address: 'http://a:1', beganAtMs: logMs, skewMs: 0 }
  const newer: Life = { address: 'http://b:1', beganAtMs: logMs + 5_000, skewMs: 0 }
  heard.hear(heartbeat(older, logMs + 6_000), logMs + 6_000, 0)
  heard.hear(heartbeat(newer, logMs + 6_000), logMs + 6_000, 0)
  const jumped = { ...heartbeat(older, logMs + 7_000), writtenAtMs: logMs - hourMs }
  expect(heard.hear(jumped, logMs + 7_000, 1)).toBe('rival')
  const back = { ...heartbeat(newer, logMs + 8_000), writtenAtMs: logMs + hourMs }
  expect(heard.hear(back, logMs + 8_000, 2)).toBe('news')
  expect(heard.get(replica)?.heartbeat.address).toBe('http://b:1')
})

test.each<[string, Partial<Heartbeat>, number]>([
  ['is silent', {}, 6_000],
  ['was stopped', { state: 'stopped' }, 10],
])('an older life, or one that seems so, is listened to when the newer %s', (_what, last, passedMs) => {
  const heard = new HeardReplicas()
  const newer: Life = { address: 'http://b:1', beganAtMs: logMs, skewMs: 0 }
  heard.hear({ ...heartbeat(newer, logMs + 100), ...last }, logMs + 100, 0)
  // The clock of the log stepped back by an hour meanwhile.
  const restarted: Life = { address: 'http://c:1', beganAtMs: logMs - hourMs, skewMs: 0 }
  const hear = (atMs: number, nowMs: number) => heard.hear(heartbeat(restarted, atMs), atMs, nowMs)
  const first = hear(logMs - hourMs + 5, 5)
  expect(first).toBe(last.state === 'stopped' ? 'news' : 'rival')
  expect(hear(logMs - hourMs + passedMs, passedMs)).toBe('news')
  expect(heard.get(replica)?.heartbeat.address).toBe('http://c:1')
})

test('a heartbeat that is in the log twice is heard once', () => {
  const heard = new HeardReplicas()
  const life: Life = { address: 'http://a:1', beganAtMs: logMs, skewMs: 0 }
  const [first, second] = [heartbeat(life, logMs + 1), heartbeat(life, logMs + 1_000)]
  const hearings = [first, second, second, first].map((beat, at) => heard.hear(beat, logMs + at, at))
  expect(hearings).toEqual(['news', 'news', 'repeated', 'repeated'])
})

test('silence is what the log went on without it, and at least the time since it was heard here', () => {
  const heard = new HeardReplicas()
  const other = 'g1-0-b' as ReplicaId
  const life: Life = { address: 'http://a:1', beganAtMs: logMs, skewMs: hourMs }
  heard.hear(heartbeat(life, logMs), logMs, 100)
  heard.hear(heartbeat(life, logMs + 7_000, other), logMs + 7_000, 100)
  const silences = (nowMs: number) => [replica, other].map(each => heard.silentMs(heard.get(each)!, nowMs))
  expect(silences(100)).toEqual([7_000, 0])
  expect(silences(8_100)).toEqual([8_000, 8_000])
  // The clock of the log may step back.
  heard.hear(heartbeat(life, logMs + 16_000, other), logMs - hourMs, 9_100)
  expect(silences(9_200)).toEqual([9_100, 100])
  heard.forget(replica)
  expect([...heard.all()].map(({ heartbeat: { replica: left } }) => left)).toEqual([other])
})
