import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RemoteReplica } from '../query-gateway/remote/remote-replica.ts'
import { parseGeneration, parseItemId, type TopicEpoch } from '../schemas/ids.ts'
import type { RegisterMutation } from '../schemas/mutation.ts'
import { createShardServer } from '../shard-node/http/shard-server.ts'
import type { ShardNode } from '../shard-node/shard-node.ts'
import { seededRandom } from '../shard-node/testing/seeded-random.ts'
import { attributesPut } from '../shard-node/testing/shard-on-log.ts'
import {
  type CertifiableReplica,
  type Certificate,
  type CertificateOptions,
  certify,
} from '../topologies/generations/certificate.ts'
import { bucketOfItem } from '../topologies/generations/cut-comparison.ts'
import { GenerationsOnLog, mutationsOf, type PublishedEvent, picturePut } from './testing/generations-on-log.ts'

const g1 = parseGeneration('g1')
const g2 = parseGeneration('g2')
const partitions = 4
/** Beside them others change, fail and are deleted. */
const quietItems = 200

let world: GenerationsOnLog
let calls: CutCall[]

beforeEach(async () => {
  world = await GenerationsOnLog.create(partitions)
  calls = []
  await world.start(g1, 2)
  await world.start(g2, 3)
})
afterEach(() => world.dispose())

interface CutCall {
  readonly replica: string
  readonly name: 'cutItems' | 'cutBucket'
  readonly asked: readonly (string | number)[]
}

/** The node itself; what is fetched from a cut of it is noted down. */
function watched(node: CertifiableReplica): CertifiableReplica {
  return new Proxy(node, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...args: readonly unknown[]) => {
        if (name === 'cutItems' || name === 'cutBucket')
          calls.push({ replica: node.replica, name, asked: [args[1]].flat() as (string | number)[] })
        return value.apply(target, args)
      }
    },
  })
}

function certificate(options: Partial<CertificateOptions> = {}): Promise<Certificate> {
  const replicas = world.nodes.map(watched)
  return certify({
    reference: g1,
    candidate: g2,
    partitions,
    topicEpoch: '00000000000000aa' as TopicEpoch,
    replicas: () => replicas,
    catalogEnds: () => world.catalogEnds(),
    allowance: { failedItems: 0, failedShare: 0 },
    maxCuts: 20,
    lagTimeoutMs: 60_000,
    clock: Date.now,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...options,
  })
}

/** A catalogue with a history: items that changed, were deleted, came again, and one whose picture failed. */
function publishAll(): void {
  for (let i = 0; i < quietItems; i++) world.publish(`item-${i}`, `picture-${i}`)
  for (let i = 0; i < quietItems; i += 5) world.publish(`item-${i}`, `newer-${i}`)
  for (let i = 0; i < quietItems; i += 7) world.publish(`item-${i}`, null)
  for (let i = 0; i < quietItems; i += 21) world.publish(`item-${i}`, `again-${i}`)
  world.publish('broken', 'failed')
}

/** Both generations apply all of it; the candidate in another order, and what `tamper` makes of it. */
async function applyAll(tamper: (mutation: RegisterMutation) => readonly RegisterMutation[] = one => [one]) {
  const mutations = world.events.flatMap(event => event.mutations)
  await world.write(g1, mutations)
  await world.write(g2, [...mutations].reverse().flatMap(tamper))
  await world.applied(g1)
  await world.applied(g2)
}

test('correct generations of other shard counts hold the same, without a look at any item that rests', async () => {
  publishAll()
  await applyAll()
  const made = await certificate()
  expect(made).toMatchObject({ holds: true, reasons: [], partitions })
  expect(made.live.reference).toBe(made.live.candidate)
  expect(made.comparisons.map(({ partition, candidate, reference }) => [partition, candidate, reference])).toEqual([
    [0, 'g2-0-a', 'g1-0-a'],
    [1, 'g2-1-a', 'g1-1-a'],
    [2, 'g2-2-a', 'g1-0-a'],
    [3, 'g2-0-a', 'g1-1-a'],
  ])
  expect(made.failed.onlyCandidate.count).toBe(0)
  expect(made.failed.candidate).toEqual({ count: 1, first: ['broken'] })
  expect(calls.filter(({ asked }) => asked.length > 0)).toEqual([])
  expect(JSON.parse(JSON.stringify(made))).toEqual(made)
})

/** Of those that are published once. */
function itemIn(partition: number): string {
  const isOnce = ({ itemId }: PublishedEvent) => world.events.filter(event => event.itemId === itemId).length === 1
  return world.events.filter(event => event.partition === partition).find(isOnce)!.itemId
}

const itemOf = (mutation: RegisterMutation, item: string): boolean => mutation.itemId === parseItemId(item)

test.each<[string, string, string, (mutation: RegisterMutation) => readonly RegisterMutation[]]>([
  ['one item is missing', 'item-8', 'is missing in g2', one => (itemOf(one, 'item-8') ? [] : [one])],
  [
    'one version is stale',
    'item-10',
    'has version ',
    one => (itemOf(one, 'item-10') && one.type === 'AttributesPut' && one.version.offset > 20 ? [] : [one]),
  ],
  [
    'one delete is resurrected',
    'item-14',
    'is live in g2',
    one => (itemOf(one, 'item-14') && one.type === 'ItemRemoved' ? [] : [one]),
  ],
  [
    'one item has objects of another picture',
    'item-11',
    'has objects of another picture in g2',
    one =>
      itemOf(one, 'item-11') && one.type === 'ObjectsPut'
        ? [picturePut('item-11', one.version.offset, 'other')]
        : [one],
  ],
  [
    'an item is there that nobody published',
    'stray',
    'is live in g2',
    one => (itemOf(one, 'item-3') && one.type === 'AttributesPut' ? [one, ...mutationsOf('stray', 0, 'p')] : [one]),
  ],
])('%s: it is named, and only its bucket was looked into', async (_, item, why, tamper) => {
  publishAll()
  await applyAll(tamper)
  const { holds, reasons, mismatches } = await certificate()
  expect(holds).toBe(false)
  expect(mismatches.count).toBe(1)
  expect(mismatches.first.map(({ itemId }) => itemId)).toEqual([item])
  expect(reasons).toEqual([expect.stringMatching(new RegExp(`^partition \\d: item ${item} ${why}`))])
  const looked = calls.filter(({ asked }) => asked.length > 0)
  expect(looked.map(({ name, asked }) => [name, asked])).toEqual([
    ['cutBucket', [bucketOfItem(parseItemId(item))]],
    ['cutBucket', [bucketOfItem(parseItemId(item))]],
  ])
})

test('a generation of a compacted log, where pictures were superseded and results came late, holds the same', async () => {
  const random = seededRandom(20261122)
  const oneOf = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!
  const names = Array.from({ length: 60 }, (_, n) => `item-${n}`)
  const history = Array.from({ length: 900 }, () => {
    const [item, picture] = [oneOf(names), oneOf(['red', 'red', 'blue', null])]
    return { item, picture, ...world.publish(item, picture) }
  })
  const introduced = new Map<string, string>()
  const ours = history.flatMap(({ item, picture, itemId, offset, mutations }, at) => {
    const isChanged = picture !== null && introduced.get(item) !== picture
    if (picture === null) introduced.delete(item)
    else introduced.set(item, picture)
    const isSuperseded = history.slice(at + 1).some(later => later.itemId === itemId && later.picture !== picture)
    const hasObjects = isChanged && !(isSuperseded && random() < 0.5)
    return picture === null || hasObjects ? mutations : [attributesPut(item, offset)]
  })
  // Of most items the log holds the last event only: then that one is what introduces the picture.
  const isLast = (at: number): boolean => !history.slice(at + 1).some(later => later.item === history[at]!.item)
  const theirs = history.flatMap(({ mutations }, at) => (isLast(at) || at > 800 ? mutations : []))
  const shuffled = (all: readonly RegisterMutation[]) =>
    all
      .map(one => ({ one, at: random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ one }) => one)
  await world.write(g1, shuffled(ours))
  await world.write(g2, shuffled(theirs))
  for (const generation of [g1, g2]) await world.applied(generation)
  const made = await certificate()
  expect(made.reasons).toEqual([])
  expect(made.live.candidate).toBeGreaterThan(30)
  expect((await certificate({ reference: g2, candidate: g1 })).reasons).toEqual([])
})

test('an item whose objects never came counts as failed on its side, against the allowance', async () => {
  publishAll()
  await applyAll(one => (itemOf(one, 'item-11') && one.type === 'ObjectsPut' ? [] : [one]))
  const made = await certificate()
  expect(made.reasons).toEqual(['1 items failed in g2 that did not fail in g1, 0 are allowed'])
  expect(made.failed.onlyCandidate).toEqual({ count: 1, first: ['item-11'] })
  expect(await certificate({ allowance: { failedItems: 1, failedShare: 0 } })).toMatchObject({ holds: true })
  const share = await certificate({ allowance: { failedItems: 0, failedShare: 0.01 } })
  expect(share).toMatchObject({ holds: true, allowance: { allowed: 1 } })
})

test('a shard that lost everything is told by counts, and by the first of what it lacks', async () => {
  publishAll()
  await applyAll(() => [])
  const { holds, reasons, mismatches, live } = await certificate()
  expect({ holds, live: live.candidate }).toEqual({ holds: false, live: 0 })
  expect(mismatches.first).toHaveLength(100)
  expect(mismatches.count).toBeGreaterThan(100)
  expect(reasons.length).toBeLessThan(110)
})

test('what changes all the time is proven at later cuts', async () => {
  publishAll()
  await applyAll()
  let isOver = false
  const traffic = (async () => {
    for (let round = 0; !isOver; round++) {
      const events = [1, 2, 3, 4].map(i => world.publish(`item-${i}`, `round-${round}`))
      // The candidate is a step behind, as a standby is.
      for (const generation of [g1, g2])
        await world.write(
          generation,
          events.flatMap(event => event.mutations),
        )
      for (const generation of [g1, g2]) await world.applied(generation)
    }
  })()
  try {
    for (let i = 0; i < 5; i++) expect((await certificate()).reasons).toEqual([])
  } finally {
    isOver = true
    await traffic
  }
})

describe('replicas that are not there to be compared', () => {
  test('one that lags blocks it, and says where it stands', async () => {
    publishAll()
    await applyAll()
    world.publish('late', 'picture')
    await world.write(
      g1,
      world.events.slice(-1).flatMap(event => event.mutations),
    )
    await world.applied(g1)
    const { holds, reasons } = await certificate({ lagTimeoutMs: 400 })
    const { partition, offset } = world.events.at(-1)!
    const replica = `g2-${partition % 3}-a`
    expect(holds).toBe(false)
    expect(reasons).toEqual([
      expect.stringMatching(
        `^replica ${replica} lags: it has stood at ${offset - 1} for \\d+ s, the end is ${offset + 1}$`,
      ),
    ])
  })

  test('one that comes on in time does not', async () => {
    publishAll()
    await applyAll()
    const event = world.publish('late', 'picture')
    await world.write(g1, event.mutations)
    await world.applied(g1)
    const making = certificate()
    await world.write(g2, event.mutations)
    await world.applied(g2)
    expect(await making).toMatchObject({ holds: true, reasons: [] })
  })

  test('a closed one, and a shard without any, are named', async () => {
    publishAll()
    await applyAll()
    const lost = world.nodes.find(({ replica }) => replica === 'g2-1-a')!
    await lost.close()
    const { holds, reasons } = await certificate({ lagTimeoutMs: 100 })
    expect({ holds, reasons }).toEqual({
      holds: false,
      reasons: ['replica g2-1-a cannot be asked about partition 1: the shard is stopped'],
    })
    const left = world.nodes.filter(node => node !== lost)
    expect((await certificate({ replicas: () => left })).reasons).toEqual(['partition 1: no replica of g2 is known'])
    const ours = world.nodes.filter(({ generation }) => generation === g2)
    expect((await certificate({ replicas: () => ours })).reasons.slice(-1)).toEqual([
      expect.stringMatching(/^partition \d: no replica of g1/),
    ])
  })

  test('one that ends in the middle of its proof is named; what else was found stays', async () => {
    publishAll()
    const [inOne, elsewhere] = [itemIn(1), itemIn(2)]
    await applyAll(one => (itemOf(one, inOne) || itemOf(one, elsewhere) ? [] : [one]))
    // It has told its digests, and is asked for the items of a bucket.
    const replicas = world.nodes.map(node => (node.replica === 'g2-1-a' ? endingAfter(node, 'beginCut') : node))
    const { holds, reasons } = await certificate({ replicas: () => replicas, lagTimeoutMs: 100 })
    expect(holds).toBe(false)
    expect(reasons).toEqual([
      'replica g2-1-a cannot be asked about partition 1: the shard is stopped',
      `partition 2: item ${elsewhere} is missing in g2 (replica g2-2-a)`,
    ])
  })

  test('it ends at once when it is cancelled, and throws what the catalogue throws', async () => {
    publishAll()
    await applyAll()
    await world.applied(g2, () => 0)
    world.publish('late', 'picture')
    const cancelled = new AbortController()
    const making = certificate({ signal: cancelled.signal })
    cancelled.abort(new Error('not wanted any more'))
    await expect(making).rejects.toThrow('not wanted any more')
    const catalogEnds = async () => Promise.reject(new Error('the log is away'))
    await expect(certificate({ catalogEnds })).rejects.toThrow('the log is away')
  })
})

/** The node ends once it has answered such a call, as a process that is killed then. */
function endingAfter(node: ShardNode, call: string): CertifiableReplica {
  return new Proxy<CertifiableReplica>(node, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return async (...args: readonly unknown[]) => {
        const answer: unknown = await value.apply(target, args)
        if (name === call) await node.close()
        return answer
      }
    },
  })
}

test('over HTTP: it holds, and a missing item is named, by its bucket', async () => {
  publishAll()
  await applyAll(one => (itemOf(one, 'item-8') ? [] : [one]))
  const secret = 'between gateways and shards'
  const servers = world.nodes.map(node => createShardServer({ replicas: () => [node], failure: () => null, secret }))
  const remotes: RemoteReplica[] = []
  for (const [i, app] of servers.entries()) {
    const { shard, replica, generation, partitions: owned, state } = world.nodes[i]!
    const address = await app.listen({ host: '127.0.0.1', port: 0 })
    const identity = { address, shard, replica, generation, partitions: owned, reported: { state, indexAgeMs: 0 } }
    remotes.push(new RemoteReplica(identity, { secret }))
  }
  const replicas = remotes.map(watched)
  try {
    const { reasons } = await certificate({ replicas: () => replicas })
    expect(reasons).toEqual([expect.stringMatching(/item item-8 is missing in g2/)])
    expect(calls.filter(({ asked }) => asked.length > 0)).toHaveLength(2)
    const mended = world.events.find(({ itemId }) => itemId === 'item-8')!
    await world.write(g2, mended.mutations)
    await world.applied(g2)
    expect(await certificate({ replicas: () => replicas })).toMatchObject({ holds: true, reasons: [] })
    await servers[2]!.close()
    const dead = await certificate({ replicas: () => replicas, lagTimeoutMs: 100 })
    expect(dead.reasons).toEqual([expect.stringMatching(/^replica g2-0-a cannot be asked about partition \d: /)])
  } finally {
    await Promise.all(remotes.map(remote => remote.close()))
    await Promise.all(servers.map(app => app.close()))
  }
})
