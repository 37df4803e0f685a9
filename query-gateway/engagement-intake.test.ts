import { afterEach, expect, test } from 'vitest'
import type { EngagementRecord } from '../schemas/engagement.ts'
import { FreshetError } from '../schemas/errors.ts'
import { engagementPartition } from '../schemas/item-engagement.ts'
import { engagementTopic } from '../schemas/topics.ts'
import {
  allPartitions,
  type FixtureOptions,
  fingerprint,
  type GatewayFixture,
  hit,
  openGateway,
  partitions,
  unitVector,
} from './testing/gateway-fixture.ts'

let gateway: GatewayFixture
let from: Map<number, number>

async function open(options: FixtureOptions = {}): Promise<void> {
  gateway = await openGateway(options)
  gateway.replica.hits = [hit('a', 0.9), hit('b', 0.8)]
  const offsets = await gateway.log.offsets(engagementTopic)
  from = new Map(Array.from(offsets, ([partition, { end }]) => [partition, end]))
}

afterEach(() => gateway.close())

async function post(url: string, payload: object) {
  const response = await gateway.app.inject({ method: 'POST', url, payload })
  expect(response.statusCode, response.body).toBeLessThan(300)
  return response.json()
}

const search = (more: object = {}) => post('/v1/search', { vector: [...unitVector], fingerprint, ...more })

/** All that was written since this gateway was opened, with its partition. */
async function written(): Promise<readonly (readonly [number, EngagementRecord])[]> {
  const reader = await gateway.log.openReader({
    topic: engagementTopic,
    partitions: allPartitions,
    from: from as never,
  })
  const ends = await gateway.log.offsets(engagementTopic)
  const found: [number, EngagementRecord][] = []
  while (allPartitions.some(partition => reader.position(partition) < ends.get(partition)!.end))
    for (const { partition, value } of await reader.poll(1_000, 100))
      found.push([partition, gateway.codecs.engagement.decode(value!)])
  await reader.close()
  return found
}

test('what a session is shown is recorded in the order shown, and nothing of the session but a hash', async () => {
  await open()
  const session = 'someone@example.org'
  const { queryId, results } = await search({ session })
  await expect.poll(written).toHaveLength(1)
  const [[partition, record]] = (await written()) as [[number, EngagementRecord]]
  const itemIds = results.map(({ itemId }: { itemId: string }) => itemId)
  expect(record).toMatchObject({ type: 'ResultsShown', queryId, generation: 'g1', itemIds })
  expect(record).toHaveProperty('session', expect.stringMatching(/^[0-9a-f]{32}$/))
  expect(JSON.stringify(record)).not.toContain('someone')
  expect(partition).toBe(engagementPartition(queryId, partitions))
})

test('queries of one session lie in one partition, and so does what is reported of them', async () => {
  await open()
  const queries = await Promise.all(Array.from({ length: 12 }, () => search({ session: 's' })))
  const engagements = queries.map(({ queryId }) => ({ queryId, itemId: 'a', action: 'click', position: 0 }))
  expect(await post('/v1/engagements', { engagements })).toEqual({ accepted: 12 })
  await expect.poll(written).toHaveLength(24)
  const places = new Set((await written()).map(([partition]) => partition))
  expect(places.size).toBe(1)
  const hashes = (await written()).flatMap(([, record]) => (record.type === 'ResultsShown' ? [record.session] : []))
  expect(new Set(hashes).size).toBe(1)
})

test('of queries without a session nothing is recorded, and of answers without results neither', async () => {
  await open()
  await search()
  gateway.replica.hits = []
  await search({ session: 's' })
  await search({ session: 's', rerank: false })
  gateway.replica.hits = [hit('a', 0.9)]
  await search({ session: 'last' })
  await expect.poll(written).toHaveLength(1)
})

test('the salt decides: with another one nobody knows a session again', async () => {
  const hashWith = async (sessionSalt: string) => {
    await open({ options: { sessionSalt } })
    await search({ session: 's' })
    await expect.poll(written).toHaveLength(1)
    const [[, record]] = (await written()) as [[number, EngagementRecord]]
    await gateway.close()
    return record.type === 'ResultsShown' ? record.session : ''
  }
  const [one, same, other] = [await hashWith('one'), await hashWith('one'), await hashWith('other')]
  expect(same).toBe(one)
  expect(other).not.toBe(one)
  await open()
})

test('an answer waits for no record, and fails for none; what was done is acknowledged when it is durable', async () => {
  let appends = 0
  const append = async () => {
    appends++
    throw new FreshetError('log-unavailable', 'away')
  }
  await open({ ports: { log: { append, offsets: async () => new Map() } } })
  expect((await search({ session: 's' })).results).toHaveLength(2)
  await expect.poll(() => appends).toBe(1)
  const engagements = [{ queryId: 'q', itemId: 'a', action: 'click', position: 0 }]
  const response = await gateway.app.inject({ method: 'POST', url: '/v1/engagements', payload: { engagements } })
  expect(response.statusCode).toBe(503)
  expect(response.json().error.code).toBe('log-unavailable')
})
