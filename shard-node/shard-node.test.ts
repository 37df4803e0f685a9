import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { type Fingerprint, type ImageDigest, parseItemId } from '../schemas/ids.ts'
import type { Mutation, RegisterMutation } from '../schemas/mutation.ts'
import { partitionOf } from '../schemas/partition.ts'
import { mutationTopic } from '../schemas/topics.ts'
import { dot } from '../schemas/unit-vector.ts'
import { type ClusteredVectors, clusteredVectors } from './testing/clustered-vectors.ts'
import {
  attributesPut,
  generation,
  itemRemoved,
  objectsPut,
  partitionCount,
  ShardOnLog,
  workFailed,
} from './testing/shard-on-log.ts'

const dims = 16
let shard: ShardOnLog
let vectors: ClusteredVectors

beforeEach(async () => {
  shard = await ShardOnLog.create(dims)
  vectors = clusteredVectors({ seed: 21, dims, clusters: 8, spread: 0.6 })
})
afterEach(() => shard.dispose())

async function labelsOf(query: Float32Array, k = 10): Promise<string[]> {
  return (await shard.search(query, { k })).hits.map(hit => `${hit.itemId} ${hit.object.label}`)
}

test('an item is found once it has attributes and objects, by its best object', async () => {
  await shard.open()
  const [lamp, room] = [vectors.next(0), vectors.next(1)]
  await shard.apply(attributesPut('lamp', 1, { title: 'Lamp', price: 25 }))
  expect(await labelsOf(lamp)).toEqual([])
  expect((await shard.node.status()).items).toEqual({ searchable: 0, pending: 1, failed: 0, deleted: 0 })
  await shard.apply(objectsPut('lamp', 1, [room, lamp]))
  const { hits, plan } = await shard.search(lamp)
  expect(hits).toHaveLength(1)
  expect(hits[0]).toMatchObject({
    itemId: 'lamp',
    object: { box: [0, 0, 1, 1], label: 'v1', image: 0 },
    item: { title: 'Lamp', price: 25, stale: false, version: 1, imageDigests: ['a'.repeat(64)] },
  })
  expect(hits[0]?.similarity).toBeCloseTo(1, 3)
  expect(plan).toBe('scan')
  expect(await shard.node.objectVector(parseItemId('lamp'), 1)).toEqual(lamp)
  expect(await shard.node.objectVector(parseItemId('lamp'), 2)).toBeNull()
})

test('objects read before their attributes are kept, and shown when these come', async () => {
  await shard.open()
  const vector = vectors.next(0)
  await shard.apply(objectsPut('lamp', 3, [vector]))
  expect(await labelsOf(vector)).toEqual([])
  await shard.apply(attributesPut('lamp', 5))
  expect(await labelsOf(vector)).toEqual(['lamp v3'])
})

test('a removed item is gone from the next search, its older late result stays out, a re-created one starts anew', async () => {
  await shard.open()
  const [old, next] = [vectors.next(0), vectors.next(0)]
  await shard.apply(attributesPut('lamp', 1), objectsPut('lamp', 1, [old]))
  await shard.apply(itemRemoved('lamp', 4))
  expect(await labelsOf(old)).toEqual([])
  await shard.apply(objectsPut('lamp', 3, [old]), attributesPut('lamp', 6))
  expect(await labelsOf(old)).toEqual([])
  expect((await shard.node.registers(parseItemId('lamp'))).searchable).toBe(false)
  await shard.apply(objectsPut('lamp', 6, [next]))
  expect(await labelsOf(old)).toEqual(['lamp v6'])
  expect((await shard.node.status()).rows).toBe(1)
})

test('failed image work marks the old picture stale, and the next good one clears it', async () => {
  await shard.open()
  const vector = vectors.next(0)
  await shard.apply(
    attributesPut('lamp', 1),
    objectsPut('lamp', 1, [vector]),
    attributesPut('lamp', 2),
    workFailed('lamp', 2),
  )
  const [hit] = (await shard.search(vector)).hits
  expect(hit?.item.stale).toBe(true)
  const registers = await shard.node.registers(parseItemId('lamp'))
  expect(registers).toMatchObject({ objects: 1, failure: 2, searchable: true, failureDetail: { retryable: false } })
  await shard.apply(objectsPut('lamp', 2, [vector]))
  expect((await shard.search(vector)).hits[0]?.item.stale).toBe(false)
})

test('an item without good objects counts as failed and is not found', async () => {
  await shard.open()
  await shard.apply(attributesPut('lamp', 1), workFailed('lamp', 1))
  expect(await labelsOf(vectors.next(0))).toEqual([])
  expect((await shard.node.status()).items.failed).toBe(1)
})

test('while its objects are replaced, an item is always found, by the best object of one whole set', async () => {
  await shard.open()
  const query = vectors.next(0)
  const sets = new Map<string, readonly Float32Array[]>()
  const replace = (offset: number): RegisterMutation => {
    const set = Array.from({ length: 1 + (offset % 3) }, () => vectors.next(0))
    sets.set(`v${offset}`, set)
    return objectsPut('lamp', offset, set)
  }
  await shard.apply(attributesPut('lamp', 1), replace(1))
  const last = 120
  let written = false
  const writing = (async () => {
    for (let offset = 2; offset <= last; offset++) await shard.append([replace(offset)])
    await shard.caughtUp()
    written = true
  })()
  const seen = new Set<string>()
  while (!written) {
    const { hits } = await shard.search(query)
    expect(hits).toHaveLength(1)
    const { object, similarity } = hits[0]!
    const scores = sets.get(object.label)!.map(vector => dot(query, vector))
    const best = scores.indexOf(Math.max(...scores))
    expect(similarity).toBeCloseTo(scores[best]!, 6)
    expect(object.box[3]).toBe((best + 1) / scores.length)
    seen.add(object.label)
  }
  await writing
  expect(seen.size).toBeGreaterThan(10)
  expect(await labelsOf(query)).toEqual([`lamp v${last}`])
})

test('an item that came back before its removal was read is never missing', async () => {
  await shard.open()
  const query = vectors.next(0)
  const comeBack = (offset: number): RegisterMutation[] => [
    attributesPut('lamp', offset),
    objectsPut('lamp', offset, [vectors.next(0)]),
    itemRemoved('lamp', offset - 1),
  ]
  await shard.apply(...comeBack(1))
  let written = false
  const writing = (async () => {
    for (let offset = 3; offset < 240; offset += 2) await shard.append(comeBack(offset))
    await shard.caughtUp()
    written = true
  })()
  while (!written) {
    const answers = await Promise.all(Array.from({ length: 4 }, () => shard.search(query)))
    expect(answers.map(({ hits }) => hits.length)).toEqual([1, 1, 1, 1])
  }
  await writing
  expect(await labelsOf(query)).toEqual(['lamp v239'])
})

test('items removed while searches run never come out, and k results do', async () => {
  await shard.open()
  const count = 400
  const writes = Array.from({ length: count }, (_, i) => [
    attributesPut(`item-${i}`, i),
    objectsPut(`item-${i}`, i, [vectors.next(i % 8)]),
  ])
  await shard.apply(...writes.flat())
  let removed = 0
  const removing = (async () => {
    for (; removed < count - 50; removed += 10)
      await shard.apply(
        ...Array.from({ length: 10 }, (_, i) => itemRemoved(`item-${removed + i}`, 1_000 + removed + i)),
      )
  })()
  while (removed < count - 50) {
    const before = removed
    const { hits } = await shard.search(vectors.next(0), { k: 40 })
    expect(hits).toHaveLength(40)
    for (const { itemId } of hits) expect(Number(itemId.slice(5))).toBeGreaterThanOrEqual(before)
  }
  await removing
})

test('filters, the excluded item and exact mode work through the whole path', async () => {
  await shard.open()
  const writes = Array.from({ length: 60 }, (_, i) => [
    attributesPut(`item-${i}`, i, {
      category: i % 2 ? 'chair' : 'lamp',
      price: i,
      regions: i % 3 ? ['DE'] : ['FR', 'DE'],
      attributes: { colour: i % 5 ? 'red' : 'blue' },
    }),
    objectsPut(`item-${i}`, i, [vectors.next(i % 8)]),
  ])
  await shard.apply(...writes.flat())
  const query = vectors.next(0)
  const filter = { category: ['lamp'], region: ['FR'], price: { min: 6, max: 42 }, attributes: { colour: ['red'] } }
  const expected = [6, 12, 18, 24, 36, 42].map(i => `item-${i}`).sort()
  const found = await shard.search(query, { k: 50, filter })
  expect(found.hits.map(({ itemId }) => itemId as string).sort()).toEqual(expected)
  await shard.apply(
    attributesPut('item-12', 100, { category: 'chair' }),
    attributesPut('item-7', 101, { category: 'lamp', price: 7, regions: ['FR'], attributes: { colour: 'red' } }),
  )
  const changed = await shard.search(query, { k: 50, filter })
  expect(changed.hits.map(({ itemId }) => itemId as string).sort()).toEqual(
    [...expected.filter(id => id !== 'item-12'), 'item-7'].sort(),
  )
  const exact = await shard.search(query, { k: 5, exact: true })
  expect(exact.plan).toBe('exact')
  expect(exact.hits).toEqual((await shard.search(query, { k: 5 })).hits)
  const rest = await shard.node.search({ ...requestOf(query), k: 5, excludeItem: exact.hits[0]!.itemId })
  expect(rest.hits.slice(0, 4)).toEqual(exact.hits.slice(1))
})

test('a batch answers as single searches do; one foreign query refuses it', async () => {
  await shard.open()
  const writes = Array.from({ length: 50 }, (_, i) => [
    attributesPut(`item-${i}`, i, { price: i }),
    objectsPut(`item-${i}`, i, [vectors.next(i % 8)]),
  ])
  await shard.apply(...writes.flat())
  const requests = [
    { ...requestOf(vectors.next(0)), k: 3 },
    { ...requestOf(vectors.next(1)), filter: { price: { max: 4 } } },
    { ...requestOf(vectors.next(2)), exact: true },
  ]
  const singly = []
  for (const request of requests) singly.push(await shard.node.search(request))
  expect(await shard.node.searchBatch(requests)).toEqual(singly)
  expect(singly.map(({ hits }) => hits.length)).toEqual([3, 5, 10])
  const foreign = { ...requests[0]!, fingerprint: '0'.repeat(64) as Fingerprint }
  await expect(shard.node.searchBatch([requests[1]!, foreign])).rejects.toMatchObject({ code: 'fingerprint-mismatch' })
  expect(await shard.node.searchBatch([])).toEqual([])
})

test('a search tells how it was carried out when asked', async () => {
  await shard.open()
  const writes = Array.from({ length: 40 }, (_, i) => [
    attributesPut(`item-${i}`, i, { category: i % 4 ? 'chair' : 'lamp' }),
    objectsPut(`item-${i}`, i, [vectors.next(i % 8)]),
  ])
  await shard.apply(...writes.flat())
  const request = { ...requestOf(vectors.next(0)), filter: { category: ['lamp'] } }
  expect(await shard.node.search(request)).not.toHaveProperty('explain')
  const { explain, plan } = await shard.node.search({ ...request, explain: true })
  expect(explain).toMatchObject({ kind: plan, selectivity: 0.25, segments: [{ rows: 40 }] })
  const exact = await shard.node.search({ ...request, exact: true, explain: true })
  expect(exact.explain).toMatchObject({ kind: 'exact', segments: [{ by: 'vectors' }] })
})

test('an item is announced when a search begins to find it, and again with new objects, not with a new price', async () => {
  await shard.open()
  await shard.apply(attributesPut('lamp', 1, { title: 'Lamp' }))
  expect(shard.announced).toEqual([])
  await shard.apply(objectsPut('lamp', 1, [vectors.next(0)]))
  const lamp = { itemId: 'lamp', title: 'Lamp', digest: 'a'.repeat(64), atMs: shard.nowMs }
  expect(shard.announced).toEqual([lamp])
  await shard.apply(attributesPut('lamp', 2, { title: 'Lamp' }))
  expect(shard.announced).toEqual([lamp])
  await shard.apply(objectsPut('lamp', 2, [vectors.next(0)]))
  expect(shard.announced).toEqual([lamp, lamp])
})

test('pictures of items that are not removed are referenced, by digest or by upload', async () => {
  await shard.open()
  const [ours, uploaded, other] = ['a', 'b', 'c'].map(digit => digit.repeat(64) as ImageDigest)
  const pending = attributesPut('sofa', 2)
  await shard.apply(attributesPut('lamp', 1), objectsPut('lamp', 1, [vectors.next(0)]))
  await shard.apply({ ...pending, images: [`blob:${uploaded}`] } as Mutation)
  expect([...shard.node.referenced([other!, uploaded!, ours!])].sort()).toEqual([ours, uploaded])
  await shard.apply(itemRemoved('lamp', 3), itemRemoved('sofa', 3))
  expect(shard.node.referenced([ours!, uploaded!]).size).toBe(0)
})

test('an answer carries the watermarks it was computed at, and the age of the index', async () => {
  await shard.open()
  await shard.watermark(7)
  expect(await shard.search(vectors.next(0))).toMatchObject({ watermarks: { 0: 7, 1: 7 }, indexAgeMs: 0 })
  await shard.watermark(5)
  expect((await shard.node.status()).watermark).toEqual({ 0: 7, 1: 7 })
  shard.nowMs += 1_500
  expect((await shard.node.status()).indexAgeMs).toBe(0)
  shard.nowMs += 1_000
  expect((await shard.node.status()).indexAgeMs).toBe(2_500)
})

test('a receipt is told of a change once a search finds it, and of the watermark', async () => {
  await shard.open()
  const lamp = parseItemId('lamp')
  const { signal } = new AbortController()
  const changed = shard.node.changed(lamp, signal)
  await shard.append([attributesPut('lamp', 1), objectsPut('lamp', 1, [vectors.next(0)])])
  await changed
  const registers = await shard.node.registers(lamp)
  expect(registers).toMatchObject({
    attributes: 1,
    objects: 1,
    searchable: true,
    times: { attributesMs: shard.nowMs, objectsMs: shard.nowMs, removalMs: null },
  })
  expect(await labelsOf(vectors.next(0))).toEqual(['lamp v1'])
  const moved = shard.node.changed(lamp, signal)
  await shard.watermark(1)
  await moved
  expect((await shard.node.registers(lamp)).watermark).toBe(1)
  shard.nowMs += 3_600_001
  expect((await shard.node.registers(lamp)).times.objectsMs).toBeNull()
  const given = new AbortController()
  const givenUp = shard.node.changed(lamp, given.signal)
  given.abort(new Error('enough'))
  await expect(givenUp).rejects.toThrow('enough')
})

test('foreign, short and non-unit query vectors are refused', async () => {
  await shard.open()
  const request = requestOf(vectors.next(0))
  await expect(shard.node.search({ ...request, fingerprint: '0'.repeat(64) as Fingerprint })).rejects.toMatchObject({
    code: 'fingerprint-mismatch',
  })
  await expect(shard.node.search({ ...request, vector: new Float32Array(8) })).rejects.toMatchObject({
    code: 'vector-dimension',
  })
  await expect(shard.node.search({ ...request, vector: new Float32Array(dims) })).rejects.toMatchObject({
    code: 'vector-not-unit',
  })
  await expect(shard.node.search(request, AbortSignal.abort())).rejects.toMatchObject({ code: 'timeout' })
})

test('a refused record does no harm below the watermark; passed by it, the shard is not ready until made good', async () => {
  await shard.open()
  const vector = vectors.next(0)
  const bad = objectsPut('lamp', 5, [new Float32Array(dims).fill(1)])
  await shard.apply(attributesPut('lamp', 5), bad)
  expect(shard.node.refusedRecords).toBe(1)
  expect(shard.node.state).toBe('ready')
  await shard.watermark(4)
  expect(shard.node.state).toBe('ready')
  await shard.watermark(5)
  expect(shard.node.state).toBe('refusing')
  expect((await shard.node.status()).reason).toContain('version 5 of lamp')
  expect(shard.alarms.map(({ code }) => code)).toEqual(['vector-not-unit'])
  await expect(shard.search(vector)).rejects.toMatchObject({ code: 'not-ready' })
  await expect(shard.node.checkpoint()).rejects.toMatchObject({ code: 'not-ready' })
  await shard.apply(objectsPut('lamp', 5, [vector]))
  expect(await labelsOf(vector)).toEqual(['lamp v5'])
})

test('an unreadable record counts as refused by its key; one without a key ends the following', async () => {
  await shard.open()
  const lamp = parseItemId('lamp')
  const partition = partitionOf(lamp, partitionCount)
  const garbage = Buffer.from([9, 9, 9])
  const topic = mutationTopic(generation)
  await shard.log.append(topic, [
    { partition, key: Buffer.from('o:lamp@2'), value: garbage },
    { partition, key: Buffer.from('o:lamp@1'), value: null },
  ])
  await shard.caughtUp()
  expect(shard.node.refusedRecords).toBe(1)
  await shard.apply(workFailed('lamp', 2))
  await shard.watermark(2)
  expect(shard.node.state).toBe('ready')
  await shard.log.append(topic, [{ partition, key: Buffer.from('?'), value: garbage }])
  const end = (await shard.log.offsets(topic)).get(partition)!.end
  await expect(shard.node.reached(partition, end)).rejects.toMatchObject({ code: 'not-ready' })
  expect(shard.failures.map(({ code }) => code)).toEqual(['record-undecodable'])
  expect(shard.node.state).toBe('refusing')
})

test('a log and a registry that are away are waited out: told once, searched meanwhile', async () => {
  const opened = vi.spyOn(shard.log, 'openReader')
  await shard.open()
  const [vector, next] = [vectors.next(2), vectors.next(3)]
  await shard.apply(attributesPut('lamp', 1), objectsPut('lamp', 1, [vector]))
  const reader = await opened.mock.results[0]!.value
  vi.spyOn(reader, 'poll')
    .mockRejectedValueOnce(new FreshetError('log-unavailable', 'no broker answers'))
    .mockRejectedValueOnce(new FreshetError('log-unavailable', 'no broker answers'))
  await shard.watermark(1)
  await expect.poll(() => shard.alarms.map(({ code }) => code), { timeout: 10_000 }).toEqual(['log-unavailable'])
  expect(await labelsOf(vector)).toEqual(['lamp v1'])
  await shard.apply(attributesPut('chair', 1), objectsPut('chair', 1, [next]))

  vi.spyOn(shard.codec, 'learn').mockRejectedValueOnce(new FreshetError('registry-unavailable', 'it does not answer'))
  vi.spyOn(shard.codec, 'decode').mockImplementationOnce(() => {
    throw new FreshetError('schema-unknown', 'not learnt yet')
  })
  await shard.apply(attributesPut('lamp', 2))
  expect(shard.alarms.map(({ code }) => code)).toEqual(['log-unavailable', 'registry-unavailable'])
  expect(shard.failures).toEqual([])
  expect((await shard.search(next)).hits[0]).toMatchObject({ itemId: 'chair' })
})

test('removals are forgotten once old and below the watermark', async () => {
  await shard.open({ tuning: { tombstoneRetentionMs: 10_000 } })
  await shard.apply(attributesPut('lamp', 1), itemRemoved('lamp', 2), itemRemoved('sofa', 3))
  await shard.watermark(2)
  shard.nowMs += 100_000
  await shard.node.checkpoint()
  expect((await shard.node.registers(parseItemId('lamp'))).removal).toBe(-1)
  expect((await shard.node.registers(parseItemId('sofa'))).removal).toBe(3)
  expect((await shard.node.status()).items.deleted).toBe(1)
})

test('statistics tell rows, norms and how searches went', async () => {
  await shard.open()
  await shard.apply(
    ...[0, 1, 2].flatMap(i => [attributesPut(`i${i}`, i), objectsPut(`i${i}`, i, [vectors.next(0), vectors.next(1)])]),
  )
  await shard.search(vectors.next(0))
  const { vectors: statistics, rows, segments, searchMs, memoryBytes, storage, recall } = await shard.node.status()
  expect(statistics).toMatchObject({ dims, count: 6 })
  expect(Math.abs(statistics.normMean - 1)).toBeLessThan(0.01)
  expect(statistics.normMin).toBeLessThanOrEqual(statistics.normMax)
  expect([rows, segments, searchMs.count]).toEqual([6, 1, 1])
  expect(searchMs.buckets.at(-1)).toEqual({ upToMs: null, count: 1 })
  expect(storage).toMatchObject({ graphs: 0, scannedRows: 6 })
  expect(memoryBytes).toBe(storage.vectors.memoryBytes + storage.items.memoryBytes)
  expect(storage.vectors.memoryPerVector).toBe(storage.vectors.memoryBytes / 6)
  expect(recall).toMatchObject({ measured: null, samples: 0 })
})

function requestOf(vector: Float32Array): Parameters<typeof shard.node.search>[0] {
  return { generation, fingerprint: 'f'.repeat(64) as Fingerprint, vector, k: 10 }
}
