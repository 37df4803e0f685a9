import type { ControlRecord, RebuildSetting, RoutingChanged } from '../../../schemas/control.ts'
import type { HistoryEntry } from '../../../schemas/http-generations.ts'
import type { Generation, Offset } from '../../../schemas/ids.ts'
import type { ToldRecord } from '../../control/control-log.ts'
import { type ControlState, initialControlState, toldOf } from '../../control/control-state.ts'
import { percent } from './generation-lacks.ts'

interface KeptEntry extends HistoryEntry {
  readonly offsetNumber: Offset
  readonly decidedAfter: Offset
  readonly concerns: ReadonlySet<string>
}

/** Entries kept in memory, of all generations: the topic keeps all of them for ever. */
const maxEntries = 5_000

/** What was decided and tried, as people read it. */
export class ControlHistory {
  readonly #entries: KeptEntry[] = []
  readonly #wereActive: Generation[] = []
  /** Where evidence lies in the topic, by digest. */
  readonly #evidence = new Map<string, Offset>()
  #state = initialControlState

  /** Called for each record of the control topic in order, counted or not. */
  note({ offset, record, rejection, state }: ToldRecord): void {
    const before = this.#state
    this.#state = state
    const { type, by, atMs, reason, decidedAfter } = record
    this.#entries.push({
      offset: String(offset),
      offsetNumber: offset,
      decidedAfter,
      type,
      by,
      atMs,
      reason,
      summary: summaryOf(record, before),
      rejected: rejection?.reason ?? null,
      concerns: concernedBy(record, before),
    })
    if (this.#entries.length > maxEntries) this.#entries.shift()
    if (rejection !== null) return
    if (state.main !== null && state.main !== this.#wereActive.at(-1)) this.#nowActive(state.main)
    if ('digest' in record && record.digest !== '')
      this.#evidence.set(evidenceKey(record.generation, record.digest), offset)
  }

  /** Generations that had all queries, each once, the last one last. */
  get wereActive(): readonly Generation[] {
    return this.#wereActive
  }

  /** Newest first. */
  of(generation: Generation, limit: number): readonly HistoryEntry[] {
    const own = this.#entries.filter(({ concerns }) => concerns.has(generation))
    return own.slice(-limit).reverse().map(entryOf)
  }

  /** What counted after a record, in order. */
  since(offset: Offset): readonly HistoryEntry[] {
    return this.#entries.filter(each => each.offsetNumber > offset && each.rejected === null).map(entryOf)
  }

  /** The record that counted of those decided on a state: there is one at most. */
  decidedAfter(offset: Offset): HistoryEntry | null {
    const found = this.#entries.findLast(each => each.decidedAfter === offset && each.rejected === null)
    return found === undefined ? null : entryOf(found)
  }

  /** Offset of the control record that holds it. */
  evidenceAt(generation: Generation, digest: string): Offset | null {
    return this.#evidence.get(evidenceKey(generation, digest)) ?? null
  }

  #nowActive(generation: Generation): void {
    const at = this.#wereActive.indexOf(generation)
    if (at >= 0) this.#wereActive.splice(at, 1)
    this.#wereActive.push(generation)
  }
}

function evidenceKey(generation: Generation, digest: string): string {
  return `${generation} ${digest}`
}

function entryOf({ offset, type, by, atMs, reason, summary, rejected }: KeptEntry): HistoryEntry {
  return { offset, type, by, atMs, reason, summary, rejected }
}

function summaryOf(record: ControlRecord, before: ControlState): string {
  switch (record.type) {
    case 'ModelRegistered':
      return `model ${record.model} registered, ${record.dims} dimensions`
    case 'GenerationStarted': {
      const { generation, model, shards, from, imagesPerSecond } = record
      const copied = from === null ? '' : `, copying the objects of ${from}`
      const bound = imagesPerSecond > 0 ? `, at ${imagesPerSecond} a second at most` : ''
      return `${generation} started with model ${model} in ${shards} ${shards === 1 ? 'shard' : 'shards'}${copied}${bound}`
    }
    case 'CanaryPassed':
      return `${record.generation} passed its canary`
    case 'CutoverCertified':
      return `${record.generation} proven to hold the same as ${record.against}`
    case 'RoutingChanged':
      return routingSummary(record, before)
    case 'GenerationRetired':
      return `${record.generation} retired${record.override === '' ? '' : `, ${record.override}`}`
  }
}

function routingSummary({ shares, rebuilds, override }: RoutingChanged, before: ControlState): string {
  const changed = changedShares(shares, before)
  const queries = Object.entries(shares).map(([generation, share]) => `${generation} ${percent(share)}`)
  const settings = Object.entries(rebuilds).map(([generation, setting]) => `${generation} ${settingText(setting)}`)
  const parts = [...(changed.length > 0 ? [`queries to ${queries.join(', ')}`] : []), ...settings]
  return `${parts.join('; ') || 'nothing changed'}${override === '' ? '' : ` (${override})`}`
}

function settingText({ phase, imagesPerSecond }: RebuildSetting): string {
  if (phase === 'caught-up') return 'has caught up'
  if (phase === 'paused') return 'paused'
  return imagesPerSecond > 0 ? `built at ${imagesPerSecond} pictures a second at most` : 'built'
}

function concernedBy(record: ControlRecord, before: ControlState): ReadonlySet<string> {
  if (record.type === 'ModelRegistered') return new Set()
  if (record.type !== 'RoutingChanged') return new Set([record.generation])
  return new Set([...changedShares(record.shares, before), ...Object.keys(record.rebuilds)])
}

function changedShares(shares: Readonly<Record<string, number>>, { generations }: ControlState): readonly string[] {
  const names = new Set([...Object.keys(shares), ...generations.keys()])
  return [...names].filter(name => (toldOf(shares, name) ?? 0) !== (generations.get(name as Generation)?.share ?? 0))
}
