import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { IndexTuning } from '../../../shard-node/segments/index-tuning.ts'
import type { SavedSegment } from '../../../shard-node/segments/segment.ts'
import { SegmentedIndex } from '../../../shard-node/segments/segmented-index.ts'
import type { AllowedBits, IndexAnswer, IndexStatistics } from '../../../shard-node/vector-index.ts'
import { note } from '../scratch.ts'
import { ClusteredData, randomBits } from './clustered-data.ts'
import { RowSupply } from './row-supply.ts'

export interface BenchIndexOptions {
  /** Created before; what was checkpointed in it is opened. */
  readonly directory: string
  readonly dims: number
  readonly seed: number
  /** Items that may ever be put. */
  readonly capacity: number
  readonly tuning?: Partial<IndexTuning>
}

/** Items and the row of the data set that each holds, in order of the items. */
export interface LiveRows {
  readonly items: Uint32Array
  readonly rows: Uint32Array
}

const savedName = 'bench-saved.json'
/** u32s by item, read in place: text of this length would leave its traces in the memory that is measured. */
const numbersNames = { rows: 'bench-rows', ordinals: 'bench-ordinals' } as const
const ownNames: ReadonlySet<string> = new Set([savedName, ...Object.values(numbersNames)])
const none = 0xffffffff

/** What the bench keeps so that an index can be opened again: the registers' segment. */
interface Saved {
  readonly segments: readonly SavedSegment[]
  readonly limit: number
  readonly nextRow: number
}

/**
 * The segmented index with items of one object each, and the bookkeeping that registers would do for it: which row of
 * the data set an item holds, what a checkpoint names, which files may go.
 */
export class BenchIndex {
  readonly index: SegmentedIndex
  readonly data: ClusteredData
  /** What opening the index took, without what the bench keeps. */
  readonly openMs: number
  readonly #directory: string
  readonly #supply: RowSupply
  readonly #rows: Uint32Array
  readonly #ordinals: Uint32Array
  readonly #random: () => number
  #limit: number
  #live: number

  private constructor(options: BenchIndexOptions, index: SegmentedIndex, known: Known & { readonly openMs: number }) {
    this.index = index
    this.openMs = known.openMs
    this.data = new ClusteredData(options)
    this.#directory = options.directory
    this.#supply = new RowSupply(this.data, known.nextRow)
    this.#rows = known.rows
    this.#ordinals = known.ordinals
    this.#limit = known.limit
    this.#live = known.rows.reduce((count, row) => (row === none ? count : count + 1), 0)
    this.#random = randomBits(options.seed)
  }

  static async open(options: BenchIndexOptions): Promise<BenchIndex> {
    const { directory, dims, capacity, seed, tuning } = options
    const known = readSaved(directory, capacity)
    const random = randomBits(seed)
    const ties = new Uint32Array(new SharedArrayBuffer(4 * capacity, { maxByteLength: 4 * capacity }))
    for (let item = 0; item < capacity; item++) ties[item] = random()
    const currentRows = known.rows.reduce((count, row) => (row === none ? count : count + 1), 0)
    const began = performance.now()
    const index = await SegmentedIndex.open({
      directory,
      dims,
      ties,
      ...(tuning === undefined ? {} : { tuning }),
      saved: known.segments,
      standing: (item, ordinal) => (known.ordinals[item] === ordinal ? 'visible' : 'garbage'),
      currentRows,
      lastSegmentId: Math.max(0, ...known.segments.map(({ id }) => id)),
      onAlarm: error => note(`alarm: ${error.message}`),
      onFailure: error => {
        throw error
      },
    })
    return new BenchIndex(options, index, { ...known, openMs: performance.now() - began })
  }

  /** Items ever put lie below. */
  get limit(): number {
    return this.#limit
  }

  /** Items in the index. */
  get live(): number {
    return this.#live
  }

  /** Makes the next rows before a clock runs. */
  prepare(rows: number): void {
    this.#supply.prepare(rows)
  }

  /** Puts as many new items, giving way to other work now and then. */
  async fill(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.put(this.#limit)
      if (i % 500 === 499) await new Promise(resolve => setImmediate(resolve))
    }
  }

  /** Gives the item the next row of the data set. Returns the row's vector as f16. */
  put(item: number): Uint8Array {
    const { row, vectors } = this.#supply.next()
    const ordinal = this.index.put(item, { vectors, visible: true })
    if (this.#rows[item] === none) this.#live++
    this.#rows[item] = row
    this.#ordinals[item] = ordinal
    this.#limit = Math.max(this.#limit, item + 1)
    return vectors
  }

  remove(item: number): void {
    this.index.remove(item)
    if (this.#rows[item] !== none) this.#live--
    this.#rows[item] = none
    this.#ordinals[item] = none
  }

  has(item: number): boolean {
    return this.#rows[item] !== none
  }

  /** One of the items, at random. */
  anyItem(): number {
    for (;;) {
      const item = this.#random() % this.#limit
      if (this.has(item)) return item
    }
  }

  /** A new item and a replaced one in turn. Returns the item. */
  mutate(): number {
    const item = this.#random() % 2 === 0 ? this.#limit : this.anyItem()
    this.put(item)
    return item
  }

  search(query: Float32Array, k: number, allowed: AllowedBits | null = null): Promise<IndexAnswer> {
    return this.index.search({ vector: query, k, exact: false, allowed, exclude: -1 })
  }

  statistics(): IndexStatistics {
    return this.index.statistics()
  }

  liveRows(): LiveRows {
    const items = Uint32Array.from({ length: this.#limit }, (_, item) => item).filter(item => this.has(item))
    return { items, rows: items.map(item => this.#rows[item]!) }
  }

  /** Makes everything durable and removes the files that neither the checkpoint nor the running index needs. */
  async checkpoint(): Promise<readonly SavedSegment[]> {
    const picture = { limit: this.#limit, nextRow: this.#supply.nextRow }
    const [rows, ordinals] = [this.#rows.slice(), this.#ordinals.slice()]
    const segments = await this.index.segmentsForCheckpoint()
    writeFileSync(join(this.#directory, numbersNames.rows), rows)
    writeFileSync(join(this.#directory, numbersNames.ordinals), ordinals)
    writeFileSync(join(this.#directory, savedName), JSON.stringify({ segments, ...picture } satisfies Saved))
    const named = segments.flatMap(({ rows, graph }) => (graph === null ? [rows.file] : [rows.file, graph.file]))
    const listed = readdirSync(this.#directory)
    const keep = new Set([...ownNames, ...named, ...this.index.segmentsInUse()])
    for (const file of listed) if (!keep.has(file)) rmSync(join(this.#directory, file), { recursive: true })
    return segments
  }

  /** Checkpoints as time would bring them, until they give no more space back: searches hold on to files for a while. */
  async reclaim(): Promise<readonly SavedSegment[]> {
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      const segments = await this.checkpoint()
      const bytes = this.diskBytes()
      if (bytes >= before) return segments
      before = bytes
      await delay(300)
    }
  }

  /** Bytes that the index's files take on disk. */
  diskBytes(): number {
    return readdirSync(this.#directory)
      .filter(file => !ownNames.has(file))
      .reduce((total, file) => total + lstatSync(join(this.#directory, file)).blocks * 512, 0)
  }

  close(): Promise<void> {
    return this.index.close()
  }
}

interface Known {
  readonly segments: readonly SavedSegment[]
  readonly limit: number
  readonly nextRow: number
  readonly rows: Uint32Array
  readonly ordinals: Uint32Array
}

function readSaved(directory: string, capacity: number): Known {
  const rows = new Uint32Array(capacity).fill(none)
  const ordinals = new Uint32Array(capacity).fill(none)
  if (!readdirSync(directory).includes(savedName)) return { segments: [], limit: 0, nextRow: 0, rows, ordinals }
  const saved = JSON.parse(readFileSync(join(directory, savedName), 'utf8')) as Saved
  readNumbers(join(directory, numbersNames.rows), rows)
  readNumbers(join(directory, numbersNames.ordinals), ordinals)
  return { segments: saved.segments, limit: saved.limit, nextRow: saved.nextRow, rows, ordinals }
}

/** As many as there are room for and in the file. */
function readNumbers(path: string, target: Uint32Array): void {
  const file = openSync(path, 'r')
  try {
    readSync(file, target, 0, target.byteLength, 0)
  } finally {
    closeSync(file)
  }
}
