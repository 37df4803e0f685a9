import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { BareUsearch, buildBareUsearch } from './bare-usearch.ts'
import { BenchIndex } from './bench-index.ts'
import type { ClusteredData } from './clustered-data.ts'
import { requirePeer } from './peer-install.ts'
import { tuningFor } from './scene.ts'

export const peerNames = ['freshet', 'usearch', 'hnswlib-node', 'lancedb'] as const
export type PeerName = (typeof peerNames)[number]

/** Vectors of the data set, and where an engine may keep its files. */
export interface PeerPlace {
  readonly data: ClusteredData
  readonly rows: number
  readonly directory: string
}

/** One of the engines that are compared, as its documentation says to use it. */
export interface PeerEngine {
  /** Adds all rows and saves them. Seconds from the first vector to all indexed, without making the vectors. */
  build(place: PeerPlace): Promise<number>
  /** In a new process. */
  open(place: PeerPlace): Promise<void>
  /** The knob that trades speed for recall. */
  setEffort(effort: number): void
  search(query: Float32Array, k: number): Promise<ArrayLike<number>>
}

/** The package that an engine needs; null for what the product has anyway. */
export const packageOf: Readonly<Record<PeerName, string | null>> = {
  freshet: null,
  usearch: null,
  'hnswlib-node': 'hnswlib-node',
  lancedb: '@lancedb/lancedb',
}

export function engineOf(name: PeerName): PeerEngine {
  switch (name) {
    case 'freshet':
      return new FreshetEngine()
    case 'usearch':
      return new UsearchEngine()
    case 'hnswlib-node':
      return new HnswlibEngine()
    case 'lancedb':
      return new LanceEngine()
  }
}

const secondsSince = (began: number): number => (performance.now() - began) / 1_000

class FreshetEngine implements PeerEngine {
  #index: BenchIndex | null = null

  async build({ data, rows, directory }: PeerPlace): Promise<number> {
    const index = await this.#open({ data, rows, directory })
    index.prepare(rows)
    const began = performance.now()
    await index.fill(rows)
    await index.index.settled()
    const seconds = secondsSince(began)
    await index.reclaim()
    await index.close()
    return seconds
  }

  async open(place: PeerPlace): Promise<void> {
    this.#index = await this.#open(place)
  }

  setEffort(effort: number): void {
    this.#index!.index.setEffort(effort)
  }

  async search(query: Float32Array, k: number): Promise<readonly number[]> {
    return (await this.#index!.search(query, k)).hits.map(({ item }) => item)
  }

  #open({ data, rows, directory }: PeerPlace): Promise<BenchIndex> {
    const { dims, seed } = data
    return BenchIndex.open({ directory, dims, seed, capacity: rows, tuning: { ...tuningFor(rows), threads: 1 } })
  }
}

class UsearchEngine implements PeerEngine {
  #place: PeerPlace | null = null
  #bare: BareUsearch | null = null

  async build({ data, rows, directory }: PeerPlace): Promise<number> {
    const path = join(directory, 'index.usearch')
    return buildBareUsearch(data.block(0, rows).vectors, { path, dims: data.dims }).buildSeconds
  }

  async open(place: PeerPlace): Promise<void> {
    this.#place = place
  }

  setEffort(effort: number): void {
    const { data, directory } = this.#place!
    this.#bare = new BareUsearch({ path: join(directory, 'index.usearch'), dims: data.dims }, effort)
  }

  async search(query: Float32Array, k: number): Promise<Uint32Array> {
    return this.#bare!.search(query, k)
  }
}

/** The part of hnswlib-node that is used. */
interface Hnswlib {
  readonly HierarchicalNSW: new (
    space: 'ip',
    dims: number,
  ) => {
    initIndex(options: { readonly maxElements: number; readonly m: number; readonly efConstruction: number }): void
    addPoint(point: readonly number[], label: number): void
    setEf(ef: number): void
    searchKnn(query: readonly number[], k: number): { readonly neighbors: readonly number[] }
    writeIndex(path: string): Promise<boolean>
    readIndex(path: string): Promise<boolean>
  }
}

class HnswlibEngine implements PeerEngine {
  #index: InstanceType<Hnswlib['HierarchicalNSW']> | null = null

  async build({ data, rows, directory }: PeerPlace): Promise<number> {
    const index = this.#empty(data.dims)
    index.initIndex({ maxElements: rows, m: 16, efConstruction: 128 })
    const { vectors } = data.block(0, rows)
    const began = performance.now()
    for (let row = 0; row < rows; row++)
      index.addPoint(Array.from(vectors.subarray(row * data.dims, (row + 1) * data.dims)), row)
    const seconds = secondsSince(began)
    await index.writeIndex(join(directory, 'index.hnswlib'))
    return seconds
  }

  async open({ data, directory }: PeerPlace): Promise<void> {
    this.#index = this.#empty(data.dims)
    await this.#index.readIndex(join(directory, 'index.hnswlib'))
  }

  setEffort(effort: number): void {
    this.#index!.setEf(effort)
  }

  async search(query: Float32Array, k: number): Promise<readonly number[]> {
    return this.#index!.searchKnn(Array.from(query), k).neighbors
  }

  #empty(dims: number): InstanceType<Hnswlib['HierarchicalNSW']> {
    const { HierarchicalNSW } = requirePeer('hnswlib-node') as Hnswlib
    return new HierarchicalNSW('ip', dims)
  }
}

interface LanceQuery {
  distanceType(type: 'dot'): LanceQuery
  ef(ef: number): LanceQuery
  refineFactor(factor: number): LanceQuery
  limit(k: number): LanceQuery
  select(columns: readonly string[]): LanceQuery
  toArray(): Promise<readonly { readonly id: number }[]>
}

interface LanceTable {
  createIndex(column: string, options: { readonly config: unknown }): Promise<void>
  search(vector: Float32Array): LanceQuery
}

/** The parts of @lancedb/lancedb and apache-arrow that are used. */
interface Lance {
  connect(directory: string): Promise<{
    createTable(name: string, data: unknown): Promise<LanceTable>
    openTable(name: string): Promise<LanceTable>
  }>
  readonly Index: { hnswSq(options: Readonly<Record<string, unknown>>): unknown }
}

interface Arrow {
  readonly Table: new (columns: Readonly<Record<string, unknown>>) => unknown
  readonly Field: new (name: string, type: unknown, nullable: boolean) => unknown
  readonly Float32: new () => unknown
  readonly FixedSizeList: new (size: number, field: unknown) => unknown
  makeData(of: Readonly<Record<string, unknown>>): unknown
  makeVector(of: unknown): unknown
}

/** HNSW over scalar codes in one partition, as its documentation advises, and exact re-scoring of 2 k candidates. */
class LanceEngine implements PeerEngine {
  #table: LanceTable | null = null
  #effort = 0

  async build({ data, rows, directory }: PeerPlace): Promise<number> {
    const { connect, Index } = requirePeer('@lancedb/lancedb') as Lance
    const { vectors } = data.block(0, rows)
    const began = performance.now()
    const database = await connect(directory)
    const table = await database.createTable('rows', arrowTable(vectors, rows))
    const config = Index.hnswSq({ distanceType: 'dot', numPartitions: 1, m: 16, efConstruction: 128 })
    await table.createIndex('vector', { config })
    return secondsSince(began)
  }

  async open({ directory }: PeerPlace): Promise<void> {
    const { connect } = requirePeer('@lancedb/lancedb') as Lance
    this.#table = await (await connect(directory)).openTable('rows')
  }

  setEffort(effort: number): void {
    this.#effort = effort
  }

  async search(query: Float32Array, k: number): Promise<readonly number[]> {
    const found = this.#table!.search(query)
      .distanceType('dot')
      .ef(Math.max(this.#effort, 2 * k))
      .refineFactor(2)
    return (await found.limit(k).select(['id', '_distance']).toArray()).map(({ id }) => id)
  }
}

function arrowTable(vectors: Float32Array, rows: number): unknown {
  const { Table, Field, FixedSizeList, Float32, makeData, makeVector } = requirePeer('apache-arrow') as Arrow
  const values = makeData({ type: new Float32(), data: vectors, length: vectors.length })
  const type = new FixedSizeList(vectors.length / rows, new Field('item', new Float32(), true))
  const id = makeVector(Uint32Array.from({ length: rows }, (_, row) => row))
  return new Table({ id, vector: makeVector(makeData({ type, length: rows, child: values })) })
}

/** The folder of an engine, made. */
export function folderOf(directory: string, name: PeerName): string {
  const folder = join(directory, name)
  mkdirSync(folder, { recursive: true })
  return folder
}
