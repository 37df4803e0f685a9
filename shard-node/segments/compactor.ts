import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import { Builder } from './builder.ts'
import {
  type CompactionSettings,
  type CompactionStep,
  isUrgent,
  planCompaction,
  type SegmentSize,
  standardCompaction,
} from './compaction-plan.ts'
import { graphFileName } from './graph-file.ts'
import type { IndexRows } from './index-rows.ts'
import type { IndexSegment } from './index-segment.ts'
import type { IndexTuning } from './index-tuning.ts'
import type { Merge } from './merge.ts'
import { rowsFileName } from './rows-file.ts'
import type { SegmentFiles } from './segment-files.ts'

export interface CompactorOptions {
  readonly rows: IndexRows
  readonly files: ShardFiles
  readonly segmentFiles: SegmentFiles
  readonly tuning: IndexTuning
  readonly newSegmentId: () => number
  readonly onAlarm: (error: FreshetError) => void
}

/** Between two turns of the event loop: rows looked at, items brought up to date; each about 1 ms. */
const rowsPerTurn = 65_536
const itemsPerTurn = 1_024
/** As `standardCompaction` has it for log segments of the standard size. */
const urgentLogSegments = 5
const firstPauseMs = 1_000
const longestPauseMs = 60_000

/**
 * Merges frozen segments in the background, one build at a time, until the plan is content. A build that fails is an
 * alarm and tried again after a pause; searches do not notice.
 */
export class Compactor {
  readonly #options: CompactorOptions
  readonly #builder: Builder
  readonly #closing = new AbortController()
  #work: Promise<void> | null = null
  /** Log segments that were asked to be saved. */
  readonly #saved = new WeakSet<IndexSegment>()
  #saving: Promise<unknown> = Promise.resolve()
  #mode: CompactionSettings['mode'] = 'usual'
  #building: ReadonlySet<string> = new Set()

  constructor(options: CompactorOptions) {
    this.#options = options
    this.#builder = new Builder({ files: options.files })
  }

  /** Names of files that are being built, or built and not yet part of the index. */
  get building(): ReadonlySet<string> {
    return this.#building
  }

  /** Looks for something to do, unless it does already. */
  wake(): void {
    if (this.#closing.signal.aborted) return
    if (this.#work === null) {
      this.#saveFrozen()
      this.#work = this.#run()
    } else if (this.#building.size > 0 && isUrgent(this.#sizes(), this.#settings('usual'))) this.#builder.hurry()
  }

  /** Everything into one segment without garbage; resolves when done, or closed. */
  async force(): Promise<void> {
    this.#mode = 'whole'
    this.#options.rows.rotate()
    this.wake()
    await this.settled()
  }

  /** Looks for what is worth it while hardly anything changes, the rows that were put last among it. */
  calm(): void {
    if (this.#work !== null) return
    const segments = this.#options.rows.segments.filter(segment => segment.rows > 0)
    if (planCompaction(this.#sizes(segments), this.#settings('calm')) === null) return
    this.#mode = 'calm'
    this.#options.rows.rotate()
    this.wake()
  }

  /** Resolves when nothing is being merged or waiting to be, or when closed. */
  async settled(): Promise<void> {
    while (this.#work !== null) await this.#work
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#builder.close()
    await Promise.all([this.#work, this.#saving])
  }

  /** While others are being filled, so that a merge need not wait for its inputs. One that fails is tried again there. */
  #saveFrozen(): void {
    const { rows, segmentFiles } = this.#options
    for (const segment of rows.frozen) {
      if (segment.saved?.rows.rows === segment.rows || this.#saved.has(segment)) continue
      this.#saved.add(segment)
      this.#saving = segmentFiles.save(segment, segment.rows).catch(() => undefined)
    }
  }

  async #run(): Promise<void> {
    // Those who wake it go on first.
    await nextTurn()
    let failures = 0
    while (!this.#closing.signal.aborted) {
      const mode = this.#mode
      const step = planCompaction(this.#sizes(), this.#settings(mode))
      if (step === null) break
      try {
        await this.#do(step)
        // Once is enough: while sets change, there is garbage again by now.
        if (this.#mode === mode) this.#mode = 'usual'
        failures = 0
      } catch (thrown) {
        if (this.#closing.signal.aborted) break
        // By the time it is tried again it may not be calm any more: the next look tells.
        if (this.#mode === 'calm') this.#mode = 'usual'
        this.#options.onAlarm(asFreshetError(thrown))
        await this.#pause(Math.min(firstPauseMs * 2 ** failures++, longestPauseMs))
      }
    }
    this.#mode = 'usual'
    this.#work = null
  }

  #sizes(segments = this.#options.rows.frozen): readonly SegmentSize[] {
    return segments.map(({ id, order, rows, garbage, graph }) => ({
      id,
      order,
      rows,
      garbage,
      hasGraph: graph !== null,
    }))
  }

  #settings(mode: CompactionSettings['mode']): CompactionSettings {
    const { kind, graphRows, logRows } = this.#options.tuning
    const graphs = { graphRows: kind === 'standard' ? graphRows : Number.POSITIVE_INFINITY }
    return { ...standardCompaction, ...graphs, urgentRows: urgentLogSegments * logRows, mode }
  }

  async #do(step: CompactionStep): Promise<void> {
    const { rows } = this.#options
    const inputs = rows.frozen.filter(({ id }) => step.ids.includes(id))
    const merge = rows.beginMerge(inputs)
    try {
      while (merge.lookAt(rowsPerTurn)) await nextTurn()
      const segment = step.kind === 'merge' && merge.keptRows > 0 ? await this.#build(merge, step) : null
      rows.endMerge(merge, segment)
    } finally {
      rows.abandonMerge(merge)
      this.#building = new Set()
    }
  }

  async #build(merge: Merge, { graph, isUrgent }: Extract<CompactionStep, { kind: 'merge' }>): Promise<IndexSegment> {
    const { segmentFiles, tuning, newSegmentId } = this.#options
    const inputs = []
    for (const [i, segment] of merge.inputs.entries()) {
      const { rows, graph } = await segmentFiles.save(segment, segment.rows)
      inputs.push({ rows, graph, keep: merge.keep[i]! })
    }
    const id = newSegmentId()
    this.#building = this.#namesOf(id)
    const { connectivity, expansionAdd } = tuning
    const shape = graph ? { connectivity, expansionAdd } : null
    const saved = await this.#builder.build({ id, inputs, isUrgent, graph: shape })
    const { segment } = await segmentFiles.read(saved)
    await this.#bringUpToDate(merge, segment)
    return segment
  }

  /** But for the items that change in the last turn: few enough to be done in it. */
  async #bringUpToDate(merge: Merge, segment: IndexSegment): Promise<void> {
    while (merge.touched > itemsPerTurn) {
      const items = merge.takeTouched()
      for (let from = 0; from < items.length; from += itemsPerTurn) {
        this.#options.rows.refresh(merge, segment, items.slice(from, from + itemsPerTurn))
        await nextTurn()
      }
    }
  }

  #namesOf(id: number): ReadonlySet<string> {
    const names = [rowsFileName(id), graphFileName(id)]
    return new Set([...names, ...names.map(name => this.#options.files.unfinishedName(name))])
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#closing
    await delay(ms, undefined, { signal, ref: false }).catch(thrown => {
      if (!signal.aborted) throw thrown
    })
  }
}
