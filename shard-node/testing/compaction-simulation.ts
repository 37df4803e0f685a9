import { type CompactionSettings, planCompaction, type SegmentSize } from '../segments/compaction-plan.ts'
import { seededRandom } from './seeded-random.ts'

/** Rows of the simulation for each row of a shard: a shard of a million rows is simulated with a few thousand. */
export const rowScale = 1 / 256

export interface SimulatedLoad {
  readonly seed: number
  /** Rows that the builder adds to graphs while one row is put. */
  readonly builderSpeed: number
  /** Rows of a log segment. */
  readonly logRows: number
  readonly settings: CompactionSettings
}

interface Segment {
  readonly id: number
  readonly order: 'log' | 'item'
  readonly hasGraph: boolean
  readonly items: readonly number[]
  garbage: number
}

interface Build {
  readonly inputs: readonly Segment[]
  readonly kept: readonly number[]
  readonly graph: boolean
  /** Rows put until it is done. */
  restPuts: number
}

/** Codes are made so many times as fast as graphs are built. */
const codesSpeedup = 20
/** Bytes of a row of 256 dimensions: number columns, code and vector; and its share of a graph. */
const rowBytes = 557
const graphRowBytes = 404

/** The worst that was seen, since the last `startMeasuring`. */
export interface SimulatedMeasures {
  puts: number
  graphs: number
  segments: number
  rowsBuilt: number
  /** Of frozen segments without a graph. */
  scannedRows: number
  /** Bytes on disk ÷ those of the same live rows in one segment with a graph. */
  diskRatio: number
}

/** Items with one row each, put into log segments that a builder of limited speed compacts as planned. */
export class CompactionSimulation {
  readonly random: () => number
  readonly #load: SimulatedLoad
  readonly #segments = new Map<number, Segment>()
  readonly #segmentOf = new Map<number, Segment>()
  #log: number[] = []
  #build: Build | null = null
  #nextId = 1
  measures = noMeasures()

  constructor(load: SimulatedLoad) {
    this.#load = load
    this.random = seededRandom(load.seed)
  }

  get liveRows(): number {
    return this.#segmentOf.size
  }

  get sizes(): SegmentSize[] {
    return [...this.#segments.values()].map(segment => ({ ...segment, rows: segment.items.length }))
  }

  startMeasuring(): void {
    this.measures = noMeasures()
  }

  put(item: number): void {
    this.remove(item)
    this.#log.push(item)
    this.#segmentOf.set(item, activeLog)
    this.measures.puts++
    if (this.#log.length >= this.#load.logRows) this.#freeze()
    this.#work(1)
  }

  /** Nothing is put any more until nothing is left to do. */
  settle(): void {
    this.#work(0)
    while (this.#build !== null) this.#work(this.#build.restPuts)
  }

  remove(item: number): void {
    const segment = this.#segmentOf.get(item)
    if (segment !== undefined) segment.garbage++
    this.#segmentOf.delete(item)
  }

  #freeze(): void {
    const newest = new Map(this.#log.map((item, row) => [item, row]))
    const segment: Segment = { id: this.#nextId++, order: 'log', hasGraph: false, items: this.#log, garbage: 0 }
    for (const [row, item] of this.#log.entries()) {
      if (newest.get(item) === row && this.#segmentOf.get(item) === activeLog) this.#segmentOf.set(item, segment)
      else segment.garbage++
    }
    this.#segments.set(segment.id, segment)
    this.#log = []
  }

  #work(puts: number): void {
    if (this.#build !== null) this.#build.restPuts -= puts
    if (this.#build !== null && this.#build.restPuts <= 0) this.#finish(this.#build)
    this.#measure()
    while (this.#build === null) {
      const step = planCompaction(this.sizes, this.#load.settings)
      if (step === null) return
      if (step.kind === 'drop') for (const id of step.ids) this.#segments.delete(id)
      else this.#start(step.ids, step.graph)
    }
    this.#measure()
  }

  #start(ids: readonly number[], graph: boolean): void {
    const inputs = ids.map(id => this.#segments.get(id)!)
    const kept = inputs.flatMap(segment => segment.items.filter((item, row) => this.#isLive(segment, item, row)))
    this.measures.rowsBuilt += kept.length
    const speed = this.#load.builderSpeed * (graph ? 1 : codesSpeedup)
    this.#build = { inputs, kept, graph, restPuts: kept.length / speed }
  }

  #isLive(segment: Segment, item: number, row: number): boolean {
    return (
      this.#segmentOf.get(item) === segment && (segment.order === 'item' || segment.items.lastIndexOf(item) === row)
    )
  }

  #finish({ inputs, kept, graph }: Build): void {
    const segment: Segment = { id: this.#nextId++, order: 'item', hasGraph: graph, items: kept, garbage: 0 }
    const replaced = new Set(inputs)
    for (const item of kept) {
      const now = this.#segmentOf.get(item)
      if (now !== undefined && replaced.has(now)) this.#segmentOf.set(item, segment)
      else segment.garbage++
    }
    for (const input of inputs) this.#segments.delete(input.id)
    this.#segments.set(segment.id, segment)
    this.#build = null
  }

  #measure(): void {
    const { measures } = this
    let bytes = this.#log.length * rowBytes
    let [graphs, scanned] = [0, 0]
    for (const { hasGraph, items } of this.#segments.values()) {
      bytes += items.length * (rowBytes + (hasGraph ? graphRowBytes : 0))
      if (hasGraph) graphs++
      else scanned += items.length
    }
    if (this.#build !== null) bytes += this.#build.kept.length * (rowBytes + (this.#build.graph ? graphRowBytes : 0))
    measures.graphs = Math.max(measures.graphs, graphs)
    measures.segments = Math.max(measures.segments, this.#segments.size)
    measures.scannedRows = Math.max(measures.scannedRows, scanned)
    measures.diskRatio = Math.max(measures.diskRatio, bytes / (this.liveRows * (rowBytes + graphRowBytes)))
  }
}

/** Stands for the segment that is being written: its rows are counted when it is frozen. */
const activeLog: Segment = { id: 0, order: 'log', hasGraph: false, items: [], garbage: 0 }

function noMeasures(): SimulatedMeasures {
  return { puts: 0, graphs: 0, segments: 0, rowsBuilt: 0, scannedRows: 0, diskRatio: 0 }
}
