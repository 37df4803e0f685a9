import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fingerprint, parseItemId } from '../../schemas/ids.ts'
import type { ShardReplica, ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import type { ShardNode } from '../shard-node.ts'
import { type ClusteredVectors, clusteredVectors } from '../testing/clustered-vectors.ts'
import { attributesPut, generation, itemRemoved, objectsPut, ShardOnLog, workFailed } from '../testing/shard-on-log.ts'

/** A shard node as others reach it. */
export interface ReachedReplica {
  readonly replica: ShardReplica
  close(): Promise<void>
}

const dims = 16
const itemCount = 40
const fingerprint = 'f'.repeat(64) as Fingerprint

/** With every field read: a replica may read fields of items when they are looked at. JSON keeps all bits of numbers. */
function asWritten(answer: ShardSearchResult): unknown {
  return JSON.parse(JSON.stringify(answer))
}

/** What every `ShardReplica` must do, wherever the shard node behind it is. */
export function shardReplicaContract(name: string, reach: (node: ShardNode) => Promise<ReachedReplica>): void {
  describe(`${name}: the shard replica contract`, () => {
    let shard: ShardOnLog
    let reached: ReachedReplica
    let replica: ShardReplica
    let vectors: ClusteredVectors

    beforeAll(async () => {
      shard = await ShardOnLog.create(dims)
      reached = await reach(await shard.open())
      replica = reached.replica
      vectors = clusteredVectors({ seed: 5, dims, clusters: 4, spread: 0.6 })
      await shard.apply(
        ...Array.from({ length: itemCount }, (_, i) => [
          attributesPut(`item-${i}`, i, { category: i % 2 ? 'chair' : 'lamp', price: i, attributes: { size: i } }),
          objectsPut(`item-${i}`, i, [vectors.next(i % 4), vectors.next(i % 4)]),
        ]).flat(),
      )
      await shard.watermark(itemCount - 1)
    })

    afterAll(async () => {
      await reached.close()
      await shard.dispose()
    })

    const request = (vector: Float32Array, more: Partial<ShardSearchRequest> = {}): ShardSearchRequest => {
      return { generation, fingerprint, vector, k: 10, ...more }
    }

    test('it is the replica that it says it is', () => {
      const { shard: number, replica: id, generation: of, partitions } = shard.node
      expect(replica).toMatchObject({ shard: number, replica: id, generation: of, partitions })
    })

    test.each<Partial<ShardSearchRequest>>([
      {},
      { k: 3, exact: true },
      { filter: { category: ['chair'], price: { min: 5 }, attributes: { size: [7, 9, 12] } } },
      { explain: true, excludeItem: parseItemId('item-1') },
      { filter: { region: ['nowhere'], available: true } },
    ])('a search %o answers what the node answers, to the last bit', async more => {
      const asked = request(vectors.next(1), more)
      const answer = await replica.search(asked)
      expect(asWritten(answer)).toEqual(asWritten(await shard.node.search(asked)))
      expect(answer.watermarks).toEqual({ 0: 39, 1: 39 })
      expect(answer.hits).toHaveLength(more.filter?.region ? 0 : more.filter ? 2 : (more.k ?? 10))
    })

    test('an item comes back with whatever its attributes hold', async () => {
      const vector = vectors.next(0)
      const attributes = JSON.parse('{"__proto__":"a","constructor":true,"é\\u0000 ":"\\n"}')
      const odd = parseItemId('odd')
      await shard.apply(
        attributesPut(odd, 1, {
          title: '"\\ 🛋️ </script>',
          price: null,
          attributes: { ...attributes, none: Number.NaN },
        }),
        objectsPut(odd, 1, [vector]),
      )
      const asked = request(vector)
      const answer = await replica.search(asked)
      expect(answer.hits[0]?.item).toMatchObject({ itemId: odd, attributes })
      expect(asWritten(answer)).toEqual(asWritten(await shard.node.search(asked)))
      expect(await replica.registers(odd)).toEqual(await shard.node.registers(odd))
    })

    test.each([
      ['fingerprint-mismatch', { fingerprint: 'e'.repeat(64) as Fingerprint }],
      ['vector-dimension', { vector: Float32Array.of(1, 0) }],
      ['vector-not-unit', { vector: new Float32Array(dims).fill(1) }],
      ['vector-not-finite', { vector: new Float32Array(dims).fill(Number.NaN) }],
    ] as const)('a query with %s is refused as such', async (code, wrong) => {
      await expect(replica.search(request(vectors.next(0), wrong))).rejects.toMatchObject({ code, retryable: false })
    })

    test('a search whose time is over ends with timeout', async () => {
      const asked = request(vectors.next(0), { exact: true })
      await expect(replica.search(asked, AbortSignal.abort())).rejects.toMatchObject({ code: 'timeout' })
      const given = new AbortController()
      const searching = replica.search(asked, given.signal)
      given.abort()
      await expect(searching).rejects.toMatchObject({ code: 'timeout' })
      expect((await replica.search(asked)).hits).toHaveLength(10)
    })

    test.each(['lamp', 'a/b?c=d&e=%2F#f', '🛋️ é', '..', 'x'.repeat(512)])('the registers of %s', async name => {
      const itemId = parseItemId(name)
      expect(await replica.registers(itemId)).toMatchObject({ attributes: -1, searchable: false, snapshot: null })
      await shard.apply(attributesPut(name, 3), objectsPut(name, 3, [vectors.next(0)]), workFailed(name, 5))
      const registers = await replica.registers(itemId)
      expect(registers).toEqual(await shard.node.registers(itemId))
      expect(registers).toMatchObject({ objects: 3, failure: 5, failureDetail: { code: 'image-not-found' } })
      await shard.apply(itemRemoved(name, 6))
      expect(await replica.registers(itemId)).toMatchObject({ removal: 6, searchable: false })
    })

    test('the vector of an object, to the last bit, and null where there is none', async () => {
      const itemId = parseItemId('item-3')
      const vector = await replica.objectVector(itemId, 1)
      expect(vector).toBeInstanceOf(Float32Array)
      expect(vector).toEqual(await shard.node.objectVector(itemId, 1))
      expect(await replica.objectVector(itemId, 2)).toBeNull()
      expect(await replica.objectVector(parseItemId('unknown'), 0)).toBeNull()
    })

    test('the status', async () => {
      await replica.search(request(vectors.next(0)))
      const status = await replica.status()
      expect(status).toEqual(await shard.node.status())
      expect(status).toMatchObject({ state: 'ready', generation, rows: expect.any(Number) })
      expect(status.items.searchable).toBeGreaterThanOrEqual(itemCount)
    })

    test('a change of the item is told, and so is its watermark, but no other item', async () => {
      const signal = new AbortController().signal
      const told = parseItemId('told')
      const changed = replica.changed(told, signal)
      await replica.registers(told)
      let isTold = false
      void changed.then(() => {
        isTold = true
      })
      await shard.apply(attributesPut('chair', 1))
      await replica.registers(parseItemId('chair'))
      expect(isTold).toBe(false)
      await shard.apply(attributesPut(told, 2))
      await changed
      const again = replica.changed(told, signal)
      await replica.registers(told)
      await shard.watermark(itemCount)
      await again
    })

    test('whoever listens before reading the registers misses no change', async () => {
      const signal = new AbortController().signal
      const heard = parseItemId('heard')
      for (let offset = 1; offset <= 50; offset++) {
        const changed = replica.changed(heard, signal)
        const writing = shard.append([attributesPut(heard, offset)])
        const { attributes } = await replica.registers(heard)
        if (attributes < offset) await changed
        await writing
        await shard.caughtUp()
      }
    })

    test('waiting ends when the signal fires', async () => {
      const reason = new Error('enough')
      const given = new AbortController()
      const changed = replica.changed(parseItemId('lamp'), given.signal)
      await replica.registers(parseItemId('lamp'))
      given.abort(reason)
      await expect(changed).rejects.toBe(reason)
      await expect(replica.changed(parseItemId('lamp'), AbortSignal.abort(reason))).rejects.toBe(reason)
    })

    test('a closed replica answers no search', async () => {
      await shard.node.close()
      await expect(replica.search(request(vectors.next(0)))).rejects.toMatchObject({ code: 'not-ready' })
      expect((await replica.status()).state).toBe('stopped')
    })
  })
}
