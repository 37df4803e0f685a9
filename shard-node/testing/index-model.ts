import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeF16, dot } from '../../schemas/unit-vector.ts'
import { ExactIndex } from '../exact-index.ts'
import type { IndexTuning } from '../segments/index-tuning.ts'
import type { SavedSegment } from '../segments/segment.ts'
import { SegmentedIndex } from '../segments/segmented-index.ts'
import type { IndexAnswer, IndexHit, IndexQuery } from '../vector-index.ts'
import { seededRandom } from './seeded-random.ts'
import { type SubspaceVectors, subspaceVectors } from './subspace-vectors.ts'
import { bitsOf, joined, queryOf, tieKeys } from './vector-index-contract.ts'

export interface IndexModelOptions {
  readonly seed: number
  readonly steps: number
  /** Items there are at most at a time. */
  readonly items: number
  readonly tuning?: Partial<IndexTuning>
}

export interface IndexModelReport {
  readonly searches: number
  /** Of the searches that were not exact, against the oracle. */
  readonly recall: number
  readonly reopenings: number
  readonly alarms: readonly Error[]
}

interface ModelSet {
  readonly vectors: Uint8Array
  readonly visible: boolean
  readonly ordinal: number
}

/** A search on its way, and what the oracle said when it was sent. */
interface PendingSearch {
  readonly query: IndexQuery
  readonly answer: Promise<IndexAnswer>
  /** All that could come out, best first. */
  readonly truth: readonly IndexHit[]
  readonly sets: ReadonlyMap<number, ModelSet>
  /** An item was shown since: one that was visible, hidden and shown again may be missing. */
  isLoose: boolean
}

const dims = 64
const clusters = 12
/** Small segments, so that there are many; sequences that begin anew every few hundred changes. */
const smallSegments: Partial<IndexTuning> = { threads: 2, logRows: 64, graphRows: 256, sequenceLimit: 200 }

/**
 * A random walk over everything an index does, held against the oracle: exact answers are equal to the oracle's of
 * the moment they were asked at, others return only what was there at that moment, with its exact score. Changes go
 * on while searches and merges run. Throws with seed and step on the first difference.
 */
export async function walkIndex(options: IndexModelOptions): Promise<IndexModelReport> {
  const root = await mkdtemp(join(tmpdir(), 'freshet-walk-'))
  const walk = new IndexWalk(options, root)
  try {
    await walk.open([])
    for (let step = 0; step < options.steps; step++) {
      try {
        await walk.step()
      } catch (cause) {
        throw new Error(`seed ${options.seed}, step ${step}: ${String(cause)}`, { cause })
      }
    }
    return await walk.finish()
  } finally {
    await walk.close()
    await rm(root, { recursive: true })
  }
}

class IndexWalk {
  readonly #options: IndexModelOptions
  readonly #directory: string
  readonly #random: () => number
  readonly #vectors: SubspaceVectors
  readonly #ties: Uint32Array
  readonly #alarms: Error[] = []
  #sets = new Map<number, ModelSet>()
  #oracle: ExactIndex
  #index: SegmentedIndex | null = null
  #pending: PendingSearch[] = []
  #compaction: Promise<void> = Promise.resolve()
  #searches = 0
  #reopenings = 0
  #found = 0
  #wanted = 0

  constructor(options: IndexModelOptions, directory: string) {
    this.#options = options
    this.#directory = directory
    this.#random = seededRandom(options.seed)
    this.#vectors = subspaceVectors({ seed: options.seed, dims, clusters, spread: 0.8 })
    this.#ties = tieKeys(options.items)
    this.#oracle = new ExactIndex({ dims, ties: this.#ties })
  }

  async open(saved: readonly SavedSegment[]): Promise<void> {
    const sets = this.#sets
    const numbers = (await readdir(this.#directory)).map(name => Number(/-(\d+)/.exec(name)?.[1] ?? 0))
    this.#index = await SegmentedIndex.open({
      directory: this.#directory,
      dims,
      ties: this.#ties,
      tuning: { ...smallSegments, ...this.#options.tuning },
      saved,
      standing: (item, ordinal) => {
        const set = sets.get(item)
        if (set === undefined || ordinal < set.ordinal || ordinal >= set.ordinal + countOf(set)) return 'garbage'
        return set.visible ? 'visible' : 'hidden'
      },
      currentRows: [...sets.values()].reduce((sum, set) => sum + countOf(set), 0),
      lastSegmentId: Math.max(0, ...numbers),
      onAlarm: error => this.#alarms.push(error),
      onFailure: error => this.#alarms.push(error),
    })
    this.#oracle = new ExactIndex({ dims, ties: this.#ties })
    for (const [item, set] of sets) this.#oracle.put(item, set)
  }

  async step(): Promise<void> {
    const dice = this.#random()
    if (dice < 0.45) this.#put(this.#anyItem(), this.#random() < 0.9)
    else if (dice < 0.55) this.#setVisible(this.#anyItem(), this.#random() < 0.6)
    else if (dice < 0.63) this.#remove(this.#anyItem())
    else if (dice < 0.9) await this.#search()
    else if (dice < 0.97) await this.#checkPending()
    else if (dice < 0.985) this.#compaction = this.#open.compact(this.#random() < 0.3)
    else if (dice < 0.988) await this.#reopen()
    else this.#checkNow()
    if (this.#pending.length > 20) await this.#checkPending()
  }

  async finish(): Promise<IndexModelReport> {
    await this.#checkPending()
    await this.#compaction
    this.#checkNow()
    await this.#reopen()
    for (let i = 0; i < 20; i++) await this.#search()
    await this.#checkPending()
    const recall = this.#found / Math.max(1, this.#wanted)
    return { searches: this.#searches, recall, reopenings: this.#reopenings, alarms: this.#alarms }
  }

  async close(): Promise<void> {
    await this.#index?.close()
  }

  get #open(): SegmentedIndex {
    assert(this.#index !== null)
    return this.#index
  }

  #put(item: number, visible: boolean): void {
    const objects = Array.from({ length: 1 + this.#below(3) }, () => this.#vectors.bytes(this.#below(clusters)))
    const vectors = joined(objects)
    const ordinal = this.#open.put(item, { vectors, visible })
    this.#oracle.put(item, { vectors, visible })
    this.#sets.set(item, { vectors, visible, ordinal })
  }

  #setVisible(item: number, visible: boolean): void {
    const set = this.#sets.get(item)
    if (set !== undefined) this.#sets.set(item, { ...set, visible })
    if (set !== undefined && visible && !set.visible) for (const pending of this.#pending) pending.isLoose = true
    this.#open.setVisible(item, visible)
    this.#oracle.setVisible(item, visible)
  }

  #remove(item: number): void {
    this.#sets.delete(item)
    this.#open.remove(item)
    this.#oracle.remove(item)
  }

  async #search(): Promise<void> {
    await this.#open.renumbering
    const queries = Array.from({ length: 1 + this.#below(3) }, () => this.#anyQuery())
    const answers = this.#open.searchBatch(queries)
    const sets = new Map(this.#sets)
    for (const [i, query] of queries.entries()) {
      const truth = this.#oracle.answer({ ...query, k: this.#options.items }).hits
      this.#pending.push({ query, answer: answers.then(all => all[i]!), truth, sets, isLoose: false })
    }
  }

  async #checkPending(): Promise<void> {
    const pending = this.#pending
    this.#pending = []
    const answers = await Promise.all(pending.map(({ answer }) => answer))
    for (const [i, answer] of answers.entries()) this.#check(pending[i]!, answer)
    this.#searches += answers.length
  }

  #check({ query, truth, sets, isLoose }: PendingSearch, { hits }: IndexAnswer): void {
    const best = truth.slice(0, query.k)
    const known = new Map(truth.map(hit => [hit.item, hit]))
    if (query.exact && !isLoose) assert.deepEqual(hits, best)
    if (isLoose) return
    for (const { item, object, score } of hits) {
      assert(known.has(item))
      const at = object * dims * 2
      assert.equal(score, dot(query.vector, decodeF16(sets.get(item)!.vectors.subarray(at, at + dims * 2))))
    }
    assert.equal(hits.length, best.length)
    const inOrder = [...hits].sort(
      (a, b) => b.score - a.score || this.#ties[a.item]! - this.#ties[b.item]! || a.item - b.item,
    )
    assert.deepEqual(hits, inOrder)
    if (query.exact) return
    const found = new Set(hits.map(hit => hit.item))
    this.#found += best.filter(hit => found.has(hit.item)).length
    this.#wanted += best.length
  }

  #checkNow(): void {
    const item = this.#anyItem()
    for (const object of [0, 1])
      assert.deepEqual(this.#open.vectorOf(item, object), this.#oracle.vectorOf(item, object))
    const { rows, tombstones, segments } = this.#open.statistics()
    assert.equal(rows, this.#oracle.statistics().rows)
    assert(tombstones >= 0 && segments >= 0)
  }

  /** A checkpoint, changes after it that are lost, and the index opened again as of the checkpoint. */
  async #reopen(): Promise<void> {
    await this.#checkPending()
    const saving = this.#open.segmentsForCheckpoint()
    const sets = new Map(this.#sets)
    for (let i = this.#below(40); i > 0; i--) this.#put(this.#anyItem(), true)
    const saved = await saving
    await this.#prune(saved)
    await this.#open.close()
    await this.#compaction
    this.#sets = sets
    await this.open(saved)
    this.#reopenings++
  }

  /** As a shard does after publishing its manifest. */
  async #prune(saved: readonly SavedSegment[]): Promise<void> {
    const names = await readdir(this.#directory)
    const needed = new Set(this.#open.segmentsInUse())
    for (const { rows, graph } of saved) {
      needed.add(rows.file)
      if (graph !== null) needed.add(graph.file)
    }
    for (const name of names) if (!needed.has(name)) await rm(join(this.#directory, name))
  }

  #anyQuery(): IndexQuery {
    const { items } = this.#options
    const share = this.#random() < 0.5 ? null : this.#random() ** 3
    const isAllowed = (): boolean => this.#random() < (share ?? 1)
    const allowed =
      share === null ? null : bitsOf(Array.from({ length: items }, (_, item) => item).filter(isAllowed), items)
    const exclude = this.#random() < 0.2 ? this.#anyItem() : -1
    const options = { k: 1 + this.#below(20), exact: this.#random() < 0.4, allowed, exclude }
    return queryOf(this.#vectors.query(this.#below(clusters)), options)
  }

  #anyItem(): number {
    return this.#below(this.#options.items)
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }
}

function countOf({ vectors }: ModelSet): number {
  return vectors.length / (dims * 2)
}
