import { expect, test } from 'vitest'
import type { Receipt } from '../../schemas/http-items.ts'
import { tookMs } from './receipt-follower.js'

type Replica = Receipt['generations'][number]['replicas'][number]

const replica = (more: Partial<Replica>): Replica => ({
  shard: 0,
  replica: 'g1-0-a',
  status: 'searchable',
  atMs: 1_250,
  failure: null,
  stale: false,
  ...more,
})
const receipt = (generations: readonly { readonly share: number; readonly replicas: Replica[] }[]): Receipt => ({
  receipt: 'r',
  itemId: 'chair',
  partition: 0,
  version: '7',
  acceptedAtMs: 1_000,
  status: 'searchable',
  failure: null,
  stale: false,
  generations: generations.map(({ share, replicas }, index) => ({
    generation: `g${index + 1}`,
    share,
    status: 'searchable',
    replicas,
  })),
})

test('the slowest replica of the generations that serve queries decides', () => {
  const serving = { share: 1, replicas: [replica({}), replica({ replica: 'g1-0-b', atMs: 1_400 })] }
  const building = { share: 0, replicas: [replica({ atMs: 9_000 })] }
  expect(tookMs(receipt([serving, building]))).toBe(400)
})

test('a replica that does not answer holds nothing up', () => {
  const away = replica({ replica: 'g1-0-b', status: 'unreachable', atMs: null })
  expect(tookMs(receipt([{ share: 1, replicas: [replica({}), away] }]))).toBe(250)
})

test('what the server does not remember is not known', () => {
  expect(tookMs(receipt([{ share: 1, replicas: [replica({ atMs: null })] }]))).toBeNull()
  expect(tookMs(receipt([]))).toBeNull()
})
