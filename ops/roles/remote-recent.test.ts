import fastify, { type FastifyInstance } from 'fastify'
import { afterEach, expect, test } from 'vitest'
import type { Generation, ImageDigest, ItemId, ShardId } from '../../schemas/ids.ts'
import type { ReplicaState } from '../../schemas/shard-api.ts'
import { RecentByGeneration, recentRoutes } from './recent-routes.ts'
import { recentlySearchable } from './remote-recent.ts'

const secret = 'between us'
const generation = 'g1' as Generation
const nowMs = 1_000_000
const apps: FastifyInstance[] = []

afterEach(() => Promise.all(apps.splice(0).map(app => app.close())))

/** A shard process, listening. */
async function shard(number: number, prepare: (app: FastifyInstance) => void, state: ReplicaState = 'ready') {
  const app = fastify()
  apps.push(app)
  prepare(app)
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  return { address, generation, shard: number as ShardId, reported: { state, indexAgeMs: 0 } }
}

const withItems =
  (atMs: readonly number[], of = 'g1') =>
  (app: FastifyInstance): void => {
    const recent = new RecentByGeneration(() => nowMs)
    const item = (at: number) => ({
      itemId: `i${at}` as ItemId,
      title: '',
      digest: 'ab'.repeat(32) as ImageDigest,
      atMs: at,
    })
    recent.add(of, atMs.map(item))
    recentRoutes(app, { recent, secret })
  }

const idsOf = async (replicas: Parameters<typeof recentlySearchable>[0], shown: string | null = secret) => {
  const { items, perSecond } = await recentlySearchable(replicas, { generation, secret: shown })
  return [items.map(({ itemId }) => itemId), perSecond]
}

test('the items of all shards are one list, newest first; rates are added; replicas of a shard count once', async () => {
  const first = await shard(0, withItems([1, 4]))
  const sibling = await shard(0, withItems([1, 4]))
  const second = await shard(1, withItems([2, 3, 5]))
  expect(await idsOf([first, sibling, second])).toEqual([['i5', 'i4', 'i3', 'i2', 'i1'], 0.5])
})

test('the list is bounded, and another generation has its own', async () => {
  const many = await shard(0, withItems(Array.from({ length: 100 }, (_, i) => i)))
  const other = await shard(1, withItems([1_000], 'g2'))
  const [ids, perSecond] = await idsOf([many, other])
  expect([ids!.toString().split(',').length, perSecond]).toEqual([40, 10])
  expect(ids).toContain('i99')
  expect(ids).not.toContain('i1000')
})

test('a shard that is away, refuses, answers garbage or far too much is left out', async () => {
  const good = await shard(0, withItems([7]))
  const away = { ...good, shard: 1 as ShardId, address: 'http://127.0.0.1:9' }
  const garbage = await shard(2, app => void app.get('/shard/v1/recent', async () => ({ perSecond: 'many' })))
  const endless = await shard(3, app => void app.get('/shard/v1/recent', async () => `"${'x'.repeat(2 ** 21)}"`))
  const starting = await shard(4, withItems([8]), 'catching-up')
  expect(await idsOf([good, away, garbage, endless, starting])).toEqual([['i7'], 0.1])
  expect(await idsOf([good], 'another secret')).toEqual([[], 0])
})
