import { expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import type { ReplicaStatus } from '../schemas/shard-api.ts'
import { ReplicaRoster } from './replica-roster.ts'
import { allPartitions, generation } from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

/** Patient: the machine may be busy. */
const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 20_000, interval: 10 })

/** A replica that has told how it is before it is asked, and is asked by a test's leave. */
class ReportingReplica extends TableReplica {
  reported: Pick<ReplicaStatus, 'state' | 'indexAgeMs'> = { state: 'catching-up', indexAgeMs: 60_000 }
  asked = 0
  gate: Promise<void> = Promise.resolve()

  override async status(): Promise<ReplicaStatus> {
    this.asked++
    await this.gate
    return super.status()
  }
}

function roster(...replicas: readonly TableReplica[]) {
  let nowMs = 0
  const made = new ReplicaRoster({ replicas: () => replicas, clock: () => nowMs })
  return {
    route: () => made.shards(generation)[0]!,
    pass: (ms: number) => {
      nowMs += ms
    },
  }
}

test('until it is asked, a replica is what it reported of itself', async () => {
  const replica = new ReportingReplica({ partitions: allPartitions })
  const { route } = roster(replica)
  expect(route().behind).toBe(true)
  await eventually(() => route().behind).toBe(false)
})

test('of one that is asked in vain what it reports holds where it was late, and nothing where it is away', async () => {
  const replica = new ReportingReplica({ partitions: allPartitions })
  replica.reported = { state: 'ready', indexAgeMs: 0 }
  const { route, pass } = roster(replica)
  const askedInVain = async (why: string): Promise<void> => {
    replica.gate = Promise.reject(new FreshetError('replica-unavailable', 'no answer', { details: { why } }))
    replica.gate.catch(() => undefined)
    pass(2_000)
    const { asked } = replica
    route()
    await eventually(() => replica.asked).toBe(asked + 1)
  }
  await askedInVain('unreachable')
  await eventually(() => route().behind).toBe(true)
  await askedInVain('late')
  await eventually(() => route().behind).toBe(false)
  replica.reported = { state: 'catching-up', indexAgeMs: 60_000 }
  expect(route().behind).toBe(true)
})

test('one that reported to be behind comes after one that reported nothing', () => {
  const behind = new ReportingReplica({ replica: 'a', partitions: allPartitions })
  const silent = new TableReplica({ replica: 'b', partitions: allPartitions })
  expect(roster(behind, silent).route().replicas).toEqual([silent, behind])
})

test('one that hangs is not asked again before it has answered', async () => {
  const replica = new ReportingReplica({ partitions: allPartitions })
  const gate = Promise.withResolvers<void>()
  replica.gate = gate.promise
  const { route, pass } = roster(replica)
  for (let i = 0; i < 3; i++) {
    route()
    pass(2_000)
  }
  expect(replica.asked).toBe(1)
  gate.resolve()
  await eventually(() => route().behind).toBe(false)
  pass(2_000)
  route()
  expect(replica.asked).toBe(2)
})

test('one that is much staler than a sibling is not fresh, until the sibling is no longer ready', async () => {
  const [behind, close, newest] = ['a', 'b', 'c'].map(
    name => new TableReplica({ replica: name, partitions: allPartitions }),
  )
  behind!.indexAgeMs = 9_000
  close!.indexAgeMs = 3_000
  const { route, pass } = roster(behind!, close!, newest!)
  await eventually(() => route().fresh).toEqual([close, newest])
  expect(route().replicas).toEqual([newest, close, behind])
  expect(route().behind).toBe(false)
  for (const replica of [close!, newest!]) replica.state = 'catching-up'
  pass(2_000)
  await eventually(() => route().fresh).toEqual([behind])
  for (const replica of [close!, newest!]) replica.state = 'stopped'
  behind!.state = 'starting'
  pass(2_000)
  await eventually(() => route().fresh).toEqual([])
})
