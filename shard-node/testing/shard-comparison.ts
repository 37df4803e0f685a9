import assert from 'node:assert/strict'
import type { ItemId } from '../../schemas/ids.ts'
import { murmur2 } from '../../schemas/partition.ts'
import type { ShardHit, ShardSearchRequest } from '../../schemas/shard-api.ts'
import type { ShardNode } from '../shard-node.ts'
import type { ModelQuery, ShardModel } from './shard-model.ts'
import type { ShardWorkload } from './shard-workload.ts'

/** Hits of approximate searches that are in the exact answer too, and how many that answer has. */
export interface RecallCount {
  found: number
  wanted: number
}

/** What a replica is held against. */
export interface Expected {
  readonly model: ShardModel
  /** Where queries and filters come from. */
  readonly workload: Pick<ShardWorkload, 'query' | 'filter'>
  request(query: ModelQuery & { readonly exact?: boolean }): ShardSearchRequest
}

/** Everything that a replica at rest tells, against the model. @throws AssertionError naming what differs */
export async function compareWhole(expected: Expected, node: ShardNode): Promise<void> {
  const { model, workload } = expected
  await compareStatus(expected, node)
  for (const itemId of model.itemIds) {
    await compareRegisters(expected, itemId, node)
    await compareVectors(expected, itemId, node)
  }
  const recall = { found: 0, wanted: 0 }
  for (let i = 0; i < 6; i++) {
    const query = { vector: workload.query(), k: i % 2 === 0 ? 10 : 200 }
    await compareExact(expected, query, node)
    await compareExact(expected, { ...query, filter: workload.filter() }, node)
    await compareApproximate(expected, query, { node, recall })
  }
}

export async function compareStatus({ model }: Expected, node: ShardNode): Promise<void> {
  const { state, items, digests, rows, vectors } = await node.status()
  assert.deepEqual(
    { state, items, digests, rows, vectors: vectors.count },
    { state: 'ready', items: model.counts(), digests: model.digests(), rows: model.rows(), vectors: model.rows() },
  )
}

export async function compareRegisters({ model }: Expected, itemId: ItemId, node: ShardNode): Promise<void> {
  const { watermark: _, times: __, ...registers } = await node.registers(itemId)
  assert.deepEqual(registers, model.registers(itemId), `registers of ${itemId}`)
}

/** The stored vectors of all objects of the item, and of one that it has not. */
export async function compareVectors({ model }: Expected, itemId: ItemId, node: ShardNode): Promise<void> {
  const vectors = model.vectorsOf(itemId)
  for (let object = 0; object <= vectors.length; object++)
    assert.deepEqual(await node.objectVector(itemId, object), vectors[object] ?? null, `vector ${object} of ${itemId}`)
}

/** What it tells, and not of which class that is. */
function plainHit(hit: ShardHit): ShardHit {
  return { ...hit, object: { ...hit.object } }
}

/** Several searches as of one moment: the answers that each gets alone. */
export async function compareBatch(expected: Expected, queries: readonly ModelQuery[], node: ShardNode): Promise<void> {
  const results = await node.searchBatch(queries.map(query => expected.request({ ...query, exact: true })))
  const hits = results.map(result => result.hits.map(plainHit))
  assert.deepEqual(
    hits,
    queries.map(query => expected.model.search(query)),
    'a batch of searches',
  )
}

/** The model's hits, scores and order. */
export async function compareExact(expected: Expected, query: ModelQuery, node: ShardNode): Promise<void> {
  const { hits, plan } = await node.search(expected.request({ ...query, exact: true }))
  assert.equal(plan, 'exact')
  assert.deepEqual(hits.map(plainHit), expected.model.search(query), `exact search of ${nameOf(query)}`)
}

/** Items of the model that pass, by one of their objects with its exact score, ordered; k if the model has k. */
export async function compareApproximate(
  { model, request }: Expected,
  query: ModelQuery,
  { node, recall }: { readonly node: ShardNode; readonly recall: RecallCount },
): Promise<void> {
  const { hits } = await node.search(request(query))
  for (const hit of hits) {
    const { objects } = model.momentsSince(hit.itemId, model.moment).at(-1) ?? { objects: null }
    const expected = model.hitOf(hit.itemId, objectIn(hit, objects?.vectors.length ?? 0), query.vector)
    assert.deepEqual(plainHit(hit), expected, `a hit of ${hit.itemId} in a search of ${nameOf(query)}`)
  }
  requireSound(hits, query)
  const exact = model.search(query)
  assert.equal(hits.length, exact.length, `hits of a search of ${nameOf(query)}`)
  const found = new Set(hits.map(({ itemId }) => itemId))
  recall.wanted += exact.length
  recall.found += exact.filter(({ itemId }) => found.has(itemId)).length
}

export function nameOf({ vector: _, ...query }: ModelQuery): string {
  return JSON.stringify(query)
}

/** Whatever moment it is of: at most k, no item twice, not the one excluded, ordered by score, then by the hash of the id. */
export function requireSound(hits: readonly ShardHit[], query: ModelQuery): void {
  assert(hits.length <= query.k)
  assert.equal(new Set(hits.map(({ itemId }) => itemId)).size, hits.length, 'an item comes out twice')
  assert(hits.every(({ itemId }) => itemId !== query.excludeItem))
  const tie = ({ itemId }: ShardHit): number => murmur2(Buffer.from(itemId)) >>> 0
  const sorted = hits.toSorted((a, b) => b.similarity - a.similarity || tie(a) - tie(b))
  assert.deepEqual(hits, sorted, 'hits are not in order')
}

/** Which of `count` objects it is: `objectsPut` gives the boxes lower edges of 1/count, 2/count … 1. */
export function objectIn(hit: ShardHit, count: number): number {
  return Math.round(hit.object.box[3] * count) - 1
}
