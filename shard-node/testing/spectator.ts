import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import type { ItemId } from '../../schemas/ids.ts'
import type { ShardHit } from '../../schemas/shard-api.ts'
import type { ModelledShard } from './modelled-shard.ts'
import { nameOf, objectIn, requireSound } from './shard-comparison.ts'
import { dotOf, isShown, type ModelQuery, passes } from './shard-model.ts'

const searchesAtOnce = 2
const allItems = 100_000
/** Between searches, so that what they look at gets on. */
const pauseMs = 3

/**
 * Searches while the shard is written to, compacted, checkpointed and replaced. An answer must fit what the model says
 * of the time between the moment that the shard had certainly applied before the search and the end of the search:
 * each item is one that was searchable then, by one of its sets of then with that set's own score; what was searchable
 * all the time, by whichever sets, is not missing.
 */
export class Spectator {
  readonly #shard: ModelledShard
  readonly #looking: Promise<unknown>
  readonly #racing = new Set<Promise<void>>()
  readonly #failures: unknown[] = []
  #isStopped = false
  #searches = 0

  constructor(shard: ModelledShard) {
    this.#shard = shard
    this.#looking = Promise.all(Array.from({ length: searchesAtOnce }, (_, turn) => this.#look(turn)))
    this.#looking.catch(error => this.#failures.push(error))
  }

  /** Searches that were answered. */
  get searches(): number {
    return this.#searches
  }

  /** @throws what was found wrong so far */
  requireRight(): void {
    if (this.#failures.length > 0) throw this.#failures[0]
  }

  /** Starts searches for everything, to be under way while the caller goes on. */
  race(): void {
    for (let i = 0; i < searchesAtOnce; i++) {
      const query = { vector: this.#shard.workload.query(), k: allItems }
      const racing = this.#search(query, i % 2 === 0).finally(() => this.#racing.delete(racing))
      this.#racing.add(racing)
      racing.catch(error => this.#failures.push(error))
    }
  }

  /** Resolves after so many more searches. @throws what was found wrong */
  async searched(count: number): Promise<void> {
    const end = this.#searches + count
    while (this.#searches < end) await Promise.race([this.#looking, pause(pauseMs)])
  }

  /** @throws what was found wrong */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#looking
    await Promise.allSettled(this.#racing)
    this.requireRight()
  }

  async #look(first: number): Promise<void> {
    for (let turn = first; !this.#isStopped; turn++) {
      const { workload } = this.#shard
      const query = { vector: workload.query(), k: turn % 3 === 0 ? 100 : 10 }
      await this.#search(turn % 4 === 1 ? { ...query, filter: workload.filter() } : query, turn % 2 === 0)
      await pause(pauseMs)
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

  /** Of the items that matched all the time: k are found if k exist, and an exact search misses none that is better. */
  #requireWhole(
    hits: readonly ShardHit[],
    { query, from, exact }: { readonly query: ModelQuery; readonly from: number; readonly exact: boolean },
  ): void {
    // With fewer than k hits nothing may be missing; with k, in an exact search, nothing that is better than the last.
    if (hits.length === query.k && !exact) return
    const last = hits.length < query.k ? Number.NEGATIVE_INFINITY : hits.at(-1)!.similarity
    const found = new Set(hits.map(({ itemId }) => itemId))
    for (const [itemId, score] of this.#shard.model.alwaysMatching(query, from))
      if (score > last && !found.has(itemId))
        assert.fail(
          `${hits.length} hits miss ${this.#historyOf(itemId, from)} of score ${score}, searched by ${nameOf(query)}, exact ${exact}`,
        )
  }

  #historyOf(itemId: ItemId, from: number): string {
    const moments = this.#shard.model.momentsSince(itemId, from).map(moment => {
      const { attributes, objects } = moment
      return `at ${moment.from} attributes ${attributes?.version.offset}, objects ${objects?.put.version.offset}`
    })
    return `${itemId} (${moments.join('; ')}; looked at from ${from} to ${this.#shard.model.moment})`
  }
}
