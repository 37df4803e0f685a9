import { expect, test } from 'vitest'
import { asOffset, asPartition, type Generation } from '../schemas/ids.ts'
import type { ReplicaStatus, ShardReplica } from '../schemas/shard-api.ts'
import { type ControlState, type GenerationStatus, initialControlState } from '../topologies/control/control-state.ts'
import type { DispatchPace } from '../topologies/dispatch/pace.ts'
import type { DispatchStatus } from '../topologies/dispatch/runner.ts'
import { RebuildThrottle } from './rebuild-throttle.ts'

const backfillUntil = [asOffset(100), asOffset(100)]

function generation(name: string, of: Partial<GenerationStatus>): readonly [Generation, GenerationStatus] {
  const started = { generation: name, backfillUntil }
  const status = { started, share: 0, rebuild: { phase: 'running', imagesPerSecond: 0 }, ...of }
  return [name as Generation, status as unknown as GenerationStatus]
}

/** A dispatcher whose place in the catalog and whose counts are set by hand. */
class FakeDispatcher {
  readonly generation: string
  readonly partitions: number
  watermark = 0
  jobs = 0
  copied = 0
  pace: DispatchPace | null = null

  constructor(name: string, partitions = 2) {
    this.generation = name
    this.partitions = partitions
  }

  status(): DispatchStatus {
    const partitions = Array.from({ length: this.partitions }, (_, i) => {
      return { partition: asPartition(i), watermark: asOffset(this.watermark), pendingImages: 0 }
    })
    return {
      generation: this.generation,
      partitions,
      counts: { jobs: this.jobs, copied: this.copied },
    } as unknown as DispatchStatus
  }

  setPace(pace: DispatchPace): void {
    this.pace = pace
  }
}

function setUp(dispatchers: readonly FakeDispatcher[], ...generations: ReturnType<typeof generation>[]) {
  const searchMs = { count: 0, sumMs: 0 }
  const answer = { state: 'ready', indexAgeMs: 0, searchMs }
  const replica = (of: string) =>
    ({
      generation: of,
      replica: `${of}-0-a`,
      status: async () => ({ ...structuredClone(answer), generation: of }) as unknown as ReplicaStatus,
    }) as ShardReplica
  const queries = { count: 0, sumMs: 0 }
  let nowMs = 0
  const known: { state: ControlState } = { state: { ...initialControlState, generations: new Map(generations) } }
  const throttle = new RebuildThrottle({
    state: () => known.state,
    dispatchers: () => dispatchers,
    replicas: () => [replica('g1'), replica('g2')],
    queries: () => ({ ...queries }),
    onTrouble: error => {
      throw error
    },
    clock: () => nowMs,
  })
  return {
    queries,
    known,
    throttle,
    answer,
    searches(count: number, ms: number) {
      searchMs.count += count
      searchMs.sumMs += count * ms
    },
    async second() {
      nowMs += 1_000
      await throttle.look()
    },
  }
}

const serving = generation('g1', { share: 1 })

test('work of a generation without queries has the priority of a standby, from the moment it has none', () => {
  const [first, second] = [new FakeDispatcher('g1'), new FakeDispatcher('g2')]
  const world = setUp([first, second], serving, generation('g2', {}))
  world.throttle.apply()
  expect([first.pace?.priority, second.pace?.priority]).toEqual(['live', 'standby'])
  world.known.state = {
    ...world.known.state,
    generations: new Map([generation('g1', {}), generation('g2', { share: 1 })]),
  }
  world.throttle.apply()
  expect([first.pace?.priority, second.pace?.priority]).toEqual(['standby', 'live'])
})

test('an operator pauses a rebuild and bounds its rate; each dispatcher keeps its part of it', () => {
  const whole = new FakeDispatcher('g2')
  const half = new FakeDispatcher('g2', 1)
  const world = setUp([whole, half], serving, generation('g2', { rebuild: { phase: 'paused', imagesPerSecond: 10 } }))
  world.throttle.apply()
  expect(whole.pace).toMatchObject({ isPaused: true, imagesPerSecond: 10 })
  expect(half.pace).toMatchObject({ isPaused: true, imagesPerSecond: 5 })
})

test('a rebuild gives way to live events, says why, and is at its own pace again when they are through', async () => {
  const [live, rebuild] = [new FakeDispatcher('g1'), new FakeDispatcher('g2')]
  live.watermark = 500
  const world = setUp([live, rebuild], serving, generation('g2', {}))
  const after = async (images: number) => {
    rebuild.jobs += images
    await world.second()
    return rebuild.pace!
  }
  expect(await after(0)).toMatchObject({ imagesPerSecond: null, imageRecords: 64 })
  expect(await after(40)).toMatchObject({ imagesPerSecond: null, imageRecords: 80 })
  world.answer.indexAgeMs = 10_000
  expect((await after(40)).imagesPerSecond).toBeCloseTo(28)
  expect(world.throttle.throttledBy('g2' as Generation)).toBe('index-age')
  expect(live.pace).toMatchObject({ imagesPerSecond: null, imageRecords: null })
  world.answer.indexAgeMs = 0
  for (let second = 0; second < 30; second++) await after(Math.min(40, rebuild.pace!.imagesPerSecond ?? 40))
  expect(rebuild.pace).toMatchObject({ imagesPerSecond: null })
  expect(world.throttle.throttledBy('g2' as Generation)).toBeNull()
  rebuild.watermark = 99
  await world.second()
  expect(rebuild.pace).toMatchObject({ imageRecords: null })
})

test('a copy of objects gives way as a rebuild does, by the objects that were copied', async () => {
  const [live, copy] = [new FakeDispatcher('g1'), new FakeDispatcher('g2')]
  live.watermark = 500
  copy.watermark = -1
  const world = setUp([live, copy], serving, generation('g2', {}))
  const after = async (objects: number) => {
    copy.copied += objects
    await world.second()
    return copy.pace!
  }
  await after(0)
  expect(await after(400)).toMatchObject({ imagesPerSecond: null })
  world.answer.indexAgeMs = 10_000
  expect((await after(400)).imagesPerSecond).toBeCloseTo(280)
  world.answer.indexAgeMs = 0
  for (let second = 0; second < 30; second++) await after(Math.min(400, copy.pace!.imagesPerSecond ?? 400))
  expect(copy.pace).toMatchObject({ imagesPerSecond: null })
})

test('a generation that answers queries while it is built does not give way to the age of its own backlog', async () => {
  const dispatcher = new FakeDispatcher('g1')
  const { throttle, answer, second } = setUp([dispatcher], serving)
  answer.indexAgeMs = 60_000
  for (let i = 0; i < 10; i++) {
    dispatcher.jobs += 100
    await second()
  }
  expect(throttle.throttledBy('g1' as Generation)).toBeNull()
  expect(dispatcher.pace).toMatchObject({ imagesPerSecond: null })
})

test('a rebuild gives way when searches take longer than they did before it', async () => {
  const [live, rebuild] = [new FakeDispatcher('g1'), new FakeDispatcher('g2')]
  live.watermark = 500
  rebuild.watermark = 500
  const world = setUp([live, rebuild], serving, generation('g2', {}))
  for (let second = 0; second < 10; second++) {
    world.searches(20, 4)
    await world.second()
  }
  rebuild.watermark = 0
  const slow = async (ms: number) => {
    for (let second = 0; second < 6; second++) {
      world.searches(20, ms)
      rebuild.jobs += 40
      await world.second()
    }
    return world.throttle.throttledBy('g2' as Generation)
  }
  expect(await slow(5)).toBeNull()
  expect(await slow(9)).toBe('search-latency')
  expect(rebuild.pace!.imagesPerSecond).toBeLessThan(40)
})

test('a rebuild gives way when models take longer for queries, whatever searches of shards do', async () => {
  const rebuild = new FakeDispatcher('g2')
  rebuild.watermark = 500
  const world = setUp([rebuild], serving, generation('g2', {}))
  const seconds = async (count: number, ms: number) => {
    for (let second = 0; second < count; second++) {
      world.searches(20, 4)
      world.queries.count += 5
      world.queries.sumMs += 5 * ms
      rebuild.jobs += 40
      await world.second()
    }
    return world.throttle.throttledBy('g2' as Generation)
  }
  await seconds(10, 80)
  rebuild.watermark = 0
  expect(await seconds(6, 90)).toBeNull()
  expect(await seconds(6, 160)).toBe('search-latency')
})
