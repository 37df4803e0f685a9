import { expect, test } from 'vitest'
import type { Fingerprint, ItemId } from '../../../schemas/ids.ts'
import type { ShardHit, ShardReplica, ShardSearchRequest } from '../../../schemas/shard-api.ts'
import { probeReplica, recallOf } from './replica-probe.ts'

const hits = (...of: readonly (readonly [string, number])[]): readonly ShardHit[] =>
  of.map(([itemId, similarity]) => ({ itemId, similarity }) as unknown as ShardHit)
const vector = new Float32Array([1, 0])

test('a neighbour that was missed counts, one whose place another took that is as near does not', () => {
  const exact = hits(['a', 0.9], ['b', 0.8], ['c', 0.7], ['d', 0.6])
  expect(recallOf(exact, exact)).toBe(1)
  expect(recallOf(hits(['a', 0.9], ['b', 0.8], ['c', 0.7], ['e', 0.6]), exact)).toBe(1)
  expect(recallOf(hits(['a', 0.9], ['c', 0.7], ['d', 0.6], ['e', 0.5]), exact)).toBe(0.75)
  expect(recallOf([], exact)).toBe(0)
})

test('what came or went between the searches is no fault of the index', async () => {
  const before = hits(['a', 0.9], ['gone', 0.8])
  const after = hits(['a', 0.9], ['new', 0.85])
  const replica = answering(before, hits(['a', 0.9], ['z', 0.1]), after)
  const probe = { itemId: 'a' as ItemId, vector }
  const options = { fingerprint: 'f' as Fingerprint, signal: new AbortController().signal }
  expect(await probeReplica(replica, [probe], options)).toEqual({ asked: 1, selfFirst: 1, recall: 1 })
})

test('an item whose picture a dozen others have need not be among the first', async () => {
  const same = hits(...Array.from({ length: 10 }, (_, n): [string, number] => [`other ${n}`, 1]))
  const probe = { itemId: 'a' as ItemId, vector }
  const options = { fingerprint: 'f' as Fingerprint, signal: new AbortController().signal }
  expect(await probeReplica(answering(same, same, same), [probe], options)).toMatchObject({ selfFirst: 1, recall: 1 })
  const few = same.slice(0, 9)
  expect(await probeReplica(answering(few, few, few), [probe], options)).toMatchObject({ selfFirst: 0 })
})

/** A replica with these answers, one search after the other. */
function answering(...answers: readonly (readonly ShardHit[])[]): ShardReplica {
  const exactly: boolean[] = []
  const search = async ({ exact = false }: ShardSearchRequest) => {
    exactly.push(exact)
    return { hits: answers[exactly.length - 1]! }
  }
  return { generation: 'g1', search, objectVector: async () => vector } as unknown as ShardReplica
}
