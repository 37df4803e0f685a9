import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { encodeF16 } from '../../schemas/unit-vector.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { visibility } from '../kernel/row-memory.ts'
import { IndexRows } from './index-rows.ts'
import type { IndexSegment } from './index-segment.ts'
import type { Merge } from './merge.ts'
import { restoreRows } from './restore-rows.ts'
import type { RowStanding } from './row-word.ts'
import { buildSegment } from './segment-build.ts'
import { SegmentFiles } from './segment-files.ts'

const dims = 8
const vector = encodeF16(Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0))
const directory = mkdtempSync(join(tmpdir(), 'freshet-rows-'))
afterAll(() => rmSync(directory, { recursive: true }))
let lastSegmentId = 0
const newSegmentId = (): number => ++lastSegmentId
const files = new ShardFiles(directory)
const onAlarm = (error: Error): never => {
  throw error
}
const segmentFiles = new SegmentFiles({ files, threads: 1, kind: 'standard', newSegmentId, onAlarm })

function emptyRows(logRows: number): IndexRows {
  const restored = restoreRows([], { standing: () => 'garbage', currentRows: 0 })
  return new IndexRows({ dims, threads: 1, logRows, newSegmentId, onLayout: () => {} }, restored)
}

function objects(count: number): Uint8Array {
  return new Uint8Array(Buffer.concat(Array.from({ length: count }, () => vector)))
}

/** Whether a search sees the row, by the table at `visibility`. */
function isSeen(word: number, sequence: number): boolean {
  const changed = word & visibility.sequenceMask
  if (word === 0) return true
  return (word & visibility.bornBit) !== 0 ? sequence >= changed : sequence < changed
}

/** What a search under way looks at. */
interface View {
  readonly segments: readonly { readonly segment: IndexSegment; readonly rows: number }[]
  readonly sequence: number
}

function viewOf(rows: IndexRows): View {
  const { sequence, logRows } = rows.snapshot
  const { segments } = rows
  return {
    sequence,
    segments: segments.map((segment, i) => ({ segment, rows: i === segments.length - 1 ? logRows : segment.rows })),
  }
}

/** Objects seen, by item, in the order of segments and rows. */
function seenIn({ segments, sequence }: View): Map<number, number[]> {
  const seen = new Map<number, number[]>()
  for (const { segment, rows } of segments) {
    const { words, items, objects } = segment.columns
    for (let row = 0; row < rows; row++)
      if (isSeen(words[row]!, sequence)) seen.set(items[row]!, [...(seen.get(items[row]!) ?? []), objects[row]!])
  }
  return seen
}

interface Held {
  readonly view: View
  readonly expected: ReadonlyMap<number, readonly number[]>
  /** Items shown since: one that was visible, hidden and shown again is missing in a search that began before. */
  readonly shownSince: Set<number>
}

/** Index rows beside a plain map, and searches under way that hold both to what they were when these began. */
class ModelledRows {
  readonly rows = emptyRows(12)
  readonly #sets = new Map<number, { readonly count: number; visible: boolean; readonly ordinal: number }>()
  #held: Held[] = []
  #merge: Merge | null = null

  put(item: number, count: number, visible: boolean): void {
    const ordinal = this.rows.put(item, { vectors: objects(count), visible })
    this.#sets.set(item, { count, visible, ordinal })
  }

  setVisible(item: number, visible: boolean): void {
    const set = this.#sets.get(item)
    if (set !== undefined && visible && !set.visible) for (const { shownSince } of this.#held) shownSince.add(item)
    if (set !== undefined) set.visible = visible
    this.rows.setVisible(item, visible)
  }

  remove(item: number): void {
    this.#sets.delete(item)
    this.rows.remove(item)
  }

  hold(): void {
    this.#held.push({ view: viewOf(this.rows), expected: this.#visible(), shownSince: new Set() })
  }

  /** As searches are done before sequences begin anew. */
  rebase(): void {
    this.checkHeld()
    this.#held = []
    this.rows.rebase()
  }

  beginMerge(): void {
    if (this.#merge === null && this.rows.frozen.length > 0) this.#merge = this.rows.beginMerge(this.rows.frozen)
  }

  /** Looks at some rows; others are looked at when the merge ends, after more changes. */
  lookAtSome(): void {
    this.#merge?.lookAt(5)
  }

  async endMerge(): Promise<void> {
    const merge = this.#merge
    this.#merge = null
    if (merge === null) return
    while (merge.lookAt(7));
    const inputs = []
    for (const [i, segment] of merge.inputs.entries())
      inputs.push({ ...(await segmentFiles.save(segment, segment.rows)), keep: merge.keep[i]! })
    const request = { directory, id: newSegmentId(), inputs, graph: null }
    const segment =
      merge.keptRows === 0 ? null : (await segmentFiles.read(await buildSegment(files, request, () => {}))).segment
    this.rows.endMerge(merge, segment)
  }

  checkHeld(): void {
    for (const { view, expected, shownSince } of this.#held) {
      const seen = seenIn(view)
      for (const item of shownSince) if (expected.has(item)) seen.set(item, [...expected.get(item)!])
      for (const item of shownSince) if (!expected.has(item)) seen.delete(item)
      expect(byItem(seen)).toEqual(byItem(expected))
    }
  }

  check(): void {
    const expected = this.#visible()
    expect(byItem(seenIn(viewOf(this.rows)))).toEqual(byItem(expected))
    expect(this.rows.visibleItems).toBe(expected.size)
    expect(this.rows.visibleRows).toBe([...expected.values()].flat().length)
    const held = [...this.#sets.values()].reduce((sum, { count }) => sum + count, 0)
    expect(this.rows.segments.reduce((sum, segment) => sum + segment.rows - segment.garbage, 0)).toBe(held)
  }

  /** Saves the segments and opens them again with what the map says. */
  async reopened(): Promise<void> {
    const saved = []
    for (const segment of this.rows.segments)
      if (segment.rows > 0) saved.push(await segmentFiles.save(segment, segment.rows))
    const read = []
    for (const segment of saved) read.push(await segmentFiles.read(segment))
    const standing = (item: number, ordinal: number): RowStanding => {
      const set = this.#sets.get(item)
      if (set === undefined || ordinal < set.ordinal || ordinal >= set.ordinal + set.count) return 'garbage'
      return set.visible ? 'visible' : 'hidden'
    }
    const currentRows = [...this.#sets.values()].reduce((sum, { count }) => sum + count, 0)
    const restored = restoreRows(read, { standing, currentRows })
    const again = new IndexRows({ dims, threads: 1, logRows: 12, newSegmentId, onLayout: () => {} }, restored)
    expect(byItem(seenIn(viewOf(again)))).toEqual(byItem(this.#visible()))
    expect(again.visibleItems).toBe(this.rows.visibleItems)
  }

  #visible(): Map<number, number[]> {
    const visible = [...this.#sets].filter(([, set]) => set.visible)
    return new Map(visible.map(([item, { count }]) => [item, Array.from({ length: count }, (_, object) => object)]))
  }
}

function byItem(seen: ReadonlyMap<number, readonly number[]>): (readonly [number, readonly number[]])[] {
  return [...seen].sort(([a], [b]) => a - b)
}

type Step =
  | { readonly type: 'put'; readonly item: number; readonly count: number; readonly visible: boolean }
  | { readonly type: 'setVisible'; readonly item: number; readonly visible: boolean }
  | { readonly type: 'remove'; readonly item: number }
  | { readonly type: 'hold' | 'rebase' | 'rotate' | 'beginMerge' | 'lookAtSome' | 'endMerge' | 'reopen' }

const item = fc.oneof({ weight: 9, arbitrary: fc.nat(9) }, { weight: 1, arbitrary: fc.nat(200) })
const visible = fc.boolean()
const put = fc.record({ type: fc.constant('put' as const), item, count: fc.integer({ min: 1, max: 3 }), visible })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: put },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('setVisible' as const), item, visible }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('remove' as const), item }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('hold' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constantFrom(
        'rebase' as const,
        'rotate' as const,
        'beginMerge' as const,
        'lookAtSome' as const,
        'endMerge' as const,
        'reopen' as const,
      ),
    }),
  },
)

async function run(model: ModelledRows, each: Step): Promise<void> {
  switch (each.type) {
    case 'put':
      return model.put(each.item, each.count, each.visible)
    case 'setVisible':
      return model.setVisible(each.item, each.visible)
    case 'remove':
      return model.remove(each.item)
    case 'hold':
      return model.hold()
    case 'rebase':
      return model.rebase()
    case 'rotate':
      return model.rows.rotate()
    case 'beginMerge':
      return model.beginMerge()
    case 'lookAtSome':
      return model.lookAtSome()
    case 'endMerge':
      return model.endMerge()
    case 'reopen':
      return model.reopened()
  }
}

test('through changes, rotations and merges a search sees each set as it was when the search began', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async steps => {
      const model = new ModelledRows()
      for (const each of steps) {
        await run(model, each)
        model.check()
      }
      model.checkHeld()
      await model.endMerge()
      model.check()
      model.checkHeld()
      await model.reopened()
    }),
    { numRuns: 100 },
  )
})

test('a set that the registers know and no segment holds whole is refused', async () => {
  const rows = emptyRows(64)
  rows.put(1, { vectors: objects(2), visible: true })
  rows.put(2, { vectors: objects(1), visible: true })
  const [segment] = rows.segments
  const saved = await segmentFiles.save(segment!, segment!.rows)
  for (const { currentRows, standing } of [
    { currentRows: 4, standing: (): RowStanding => 'visible' },
    { currentRows: 2, standing: (_: number, ordinal: number): RowStanding => (ordinal === 0 ? 'garbage' : 'visible') },
  ]) {
    const read = await segmentFiles.read(saved)
    expect(() => restoreRows([read], { standing, currentRows })).toThrow(
      expect.objectContaining({ code: 'checkpoint-corrupt' }),
    )
  }
})

test('an item number beyond the room of the log segment begins a new one', () => {
  const rows = emptyRows(64)
  rows.put(1, { vectors: vector, visible: true })
  rows.put(100_000, { vectors: vector, visible: true })
  expect(rows.segments.map(segment => segment.rows)).toEqual([1, 1])
  expect(rows.segments[1]!.memory.shape.items).toBeGreaterThan(100_000)
  expect(rows.locate(100_000)).toMatchObject({ row: 0, count: 1 })
})

test('of two sets of an item in one log segment the one that the registers know is found, replaced and removed', async () => {
  const rows = emptyRows(64)
  rows.put(1, { vectors: vector, visible: true })
  rows.put(1, { vectors: vector, visible: true })
  const [segment] = rows.segments
  const read = await segmentFiles.read(await segmentFiles.save(segment!, segment!.rows))
  const standing = (_: number, ordinal: number): RowStanding => (ordinal === 0 ? 'visible' : 'garbage')
  restoreRows([read], { standing, currentRows: 1 })
  expect(read.segment.rowOfCurrentSet(1)).toBe(0)
})
