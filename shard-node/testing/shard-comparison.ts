import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { murmur2 } from '../../schemas/partition.ts'
import type { ShardHit } from '../../schemas/shard-api.ts'
import type { ShardNode } from '../shard-node.ts'
import type { ModelledShard } from './modelled-shard.ts'
import { dotOf, isShown, type ModelQuery, passes } from './shard-model.ts'

/** Hits of approximate searches that are in the exact answer too, and how many that answer has. */
export interface RecallCount {
  found: number
  wanted: number
}

/** Everything that a replica at rest tells, against the model. @throws AssertionError naming what differs */
export async function compareWhole(shard: ModelledShard, node = shard.node): Promise<void> {
  await compareStatus(shard, node)
  for (const itemId of shard.model.itemIds) await compareRegisters(shard, itemId, node)
  const recall = { found: 0, wanted: 0 }
  for (let i = 0; i < 6; i++) {
    const query = { vector: shard.workload.query(), k: i % 2 === 0 ? 10 : 200 }
    await compareExact(shard, query, node)
    await compareExact(shard, { ...query, filter: shard.workload.filter() }, node)
    await compareApproximate(shard, query, { node, recall })
  }
}

export async function compareStatus(shard: ModelledShard, node = shard.node): Promise<void> {
  const { state, items, digests } = await node.status()
  const { model } = shard
  assert.deepEqual({ state, items, digests }, { state: 'ready', items: model.counts(), digests: model.digests() })
}

export async function compareRegisters(
  shard: ModelledShard,
  itemId: (typeof shard.model.itemIds)[number],
  node = shard.node,
): Promise<void> {
  const { watermark: _, times: __, ...registers } = await node.registers(itemId)
  assert.deepEqual(registers, shard.model.registers(itemId), `registers of ${itemId}`)
}

/** The model's hits, scores and order. */
export async function compareExact(shard: ModelledShard, query: ModelQuery, node = shard.node): Promise<void> {
  const { hits, plan } = await node.search(shard.request({ ...query, exact: true }))
  assert.equal(plan, 'exact')
  assert.deepEqual(hits, shard.model.search(query), `exact search of ${JSON.stringify({ ...query, vector: null })}`)
}

/** Items of the model that pass, by one of their objects with its exact score, ordered; k if the model has k. */
export async function compareApproximate(
  shard: ModelledShard,
  query: ModelQuery,
  options: { readonly node?: ShardNode; readonly recall: RecallCount },
): Promise<void> {
  const { node = shard.node, recall } = options
  const { hits } = await node.search(shard.request(query))
  const { model } = shard
  for (const hit of hits) {
    const { objects } = model.momentsSince(hit.itemId, model.moment).at(-1) ?? { objects: null }
    const expected = model.hitOf(hit.itemId, objectIn(hit, objects?.vectors.length ?? 0), query.vector)
    assert.deepEqual(hit, expected, `a hit of ${hit.itemId}`)
  }
  requireSound(hits, query)
  const exact = model.search(query)
  assert.equal(hits.length, exact.length, `hits of a search of ${JSON.stringify({ ...query, vector: null })}`)
  const found = new Set(hits.map(({ itemId }) => itemId))
  recall.wanted += exact.length
  recall.found += exact.filter(({ itemId }) => found.has(itemId)).length
}

/**
 * Searches while the shard is written to, compacted, checkpointed and replaced. An answer must fit what the model says
 * of the time between the moment that the shard had certainly applied before the search and the end of the search:
 * each item is one that was searchable then, by one of its sets of then with that set's own score; what was there all
 * the time is not missing.
 */
export class Spectator {
  readonly #shard: ModelledShard
  readonly #looking: Promise<void>
  #isStopped = false
  #searches = 0

  constructor(shard: ModelledShard) {
    this.#shard = shard
    this.#looking = this.#look()
    this.#looking.catch(() => undefined)
  }

  /** Searches that were answered. */
  get searches(): number {
    return this.#searches
  }

  /** @throws what was found wrong */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#looking
  }

  async #look(): Promise<void> {
    for (let turn = 0; !this.#isStopped; turn++) {
      const { workload } = this.#shard
      const query = { vector: workload.query(), k: turn % 3 === 0 ? 100 : 10 }
      await this.#search(turn % 4 === 1 ? { ...query, filter: workload.filter() } : query, turn % 2 === 0)
      await nextTurn()
    }
  }

  async #search(query: ModelQuery, exact: boolean): Promise<void> {
    const { model } = this.#shard
    const node = this.#shard.serving
    if (node?.state !== 'ready') return
    const window = model.openWindow(this.#shard.settled)
    try {
      const { hits } = await node.search(this.#shard.request({ ...query, exact }))
      this.#searches++
      requireSound(hits, query)
      for (const hit of hits) this.#requireLegal(hit, query, window.from)
      this.#requireWhole(hits, { query, from: window.from, exact })
    } catch (error) {
      if ((error as { code?: string }).code !== 'not-ready') throw error
    } finally {
      model.closeWindow(window)
    }
  }

  #requireLegal(hit: ShardHit, query: ModelQuery, from: number): void {
    const moments = this.#shard.model.momentsSince(hit.itemId, from)
    const sets = moments.filter(isShown).map(({ objects }) => objects)
    const set = sets.find(({ put }) => put.objects[0]?.label === hit.object.label)
    assert(set !== undefined, `${hit.itemId} was not searchable by set ${hit.object.label} at any moment of the search`)
    const vector = set.vectors[objectIn(hit, set.vectors.length)]!
    assert.equal(hit.similarity, dotOf(vector, query.vector), `the score of ${hit.itemId} by set ${hit.object.label}`)
    const attributes = moments.find(moment => moment.attributes?.version.offset === hit.item.version)?.attributes
    assert(attributes != null, `${hit.itemId} had no attributes of version ${hit.item.version} during the search`)
    assert(passes(attributes, query.filter ?? {}), `${hit.itemId} does not pass the filter`)
  }

  /** Of the items that stayed as they were: k are found if k exist, and an exact search misses none that is better. */
  #requireWhole(
    hits: readonly ShardHit[],
    { query, from, exact }: { readonly query: ModelQuery; readonly from: number; readonly exact: boolean },
  ): void {
    const { model } = this.#shard
    const found = new Set(hits.map(({ itemId }) => itemId))
    const last = hits.length < query.k ? Number.NEGATIVE_INFINITY : hits.at(-1)!.similarity
    const constant = model
      .search({ ...query, k: Number.POSITIVE_INFINITY })
      .filter(({ itemId }) => model.momentsSince(itemId, from).length === 1)
    assert(
      hits.length >= Math.min(query.k, constant.length),
      `${hits.length} hits where ${constant.length} items passed all the time`,
    )
    if (!exact) return
    for (const { itemId, similarity } of constant)
      assert(similarity <= last || found.has(itemId), `an exact search misses ${itemId} with ${similarity}`)
  }
}

/** Whatever moment it is of: at most k, no item twice, not the one excluded, ordered by score, then by the hash of the id. */
function requireSound(hits: readonly ShardHit[], query: ModelQuery): void {
  assert(hits.length <= query.k)
  assert.equal(new Set(hits.map(({ itemId }) => itemId)).size, hits.length, 'an item comes out twice')
  assert(hits.every(({ itemId }) => itemId !== query.excludeItem))
  const tie = ({ itemId }: ShardHit): number => murmur2(Buffer.from(itemId)) >>> 0
  const sorted = hits.toSorted((a, b) => b.similarity - a.similarity || tie(a) - tie(b))
  assert.deepEqual(hits, sorted, 'hits are not in order')
}

/** Which of `count` objects it is: `objectsPut` gives the boxes lower edges of 1/count, 2/count … 1. */
function objectIn(hit: ShardHit, count: number): number {
  return Math.round(hit.object.box[3] * count) - 1
}
