import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { SegmentView } from '../segments/segment.ts'
import {
  allowedOf,
  buildSegment,
  naiveHits,
  type TestRow,
  type TestSegment,
  tiesFor,
} from '../testing/search-segments.ts'
import { subspaceVectors } from '../testing/subspace-vectors.ts'
import { until } from '../testing/until.ts'
import type { Audit, Snapshot, WireQuery } from './search-messages.ts'
import { SearchPool } from './search-pool.ts'

const dims = 64
const items = 3_200
const clusters = 40
const threads = 2
const directory = mkdtempSync(join(tmpdir(), 'freshet-search-pool-'))
const ties = tiesFor(items)
const source = subspaceVectors({ seed: 5, dims, clusters, spread: 0.5 })
const snapshot: Snapshot = { sequence: 5, logRows: 400 }

let graphed: TestSegment
let written: TestSegment
let audits: Audit[]
let pool: SearchPool

function setsOf(from: number, to: number): TestRow[] {
  return Array.from({ length: to - from }, (_, i) => {
    const item = from + i
    return { item, object: 0, word: 0, vector: source.bytes(item % clusters) }
  })
}

function queryOf(options: Partial<WireQuery> = {}, cluster = 7): WireQuery {
  const vector = source.query(cluster)
  return { vector, k: 10, exact: false, allowed: null, exclude: -1, effort: 60, audit: false, ...options }
}

function startPool(options: { readonly program?: URL; readonly threads?: number } = {}): void {
  const onAudit = (audit: Audit): number => audits.push(audit)
  audits = []
  pool = new SearchPool({ dims, threads, ties, onAudit, ...options })
}

async function openPool(segments: readonly SegmentView[] = [graphed.view, written.view]): Promise<void> {
  startPool()
  await pool.setLayout(segments)
}

beforeAll(async () => {
  const common = { dims, items, threads, directory }
  graphed = await buildSegment({ ...common, id: 1, order: 'item', hasGraph: true, rows: setsOf(0, 2_500) })
  written = await buildSegment({ ...common, id: 2, order: 'log', rows: setsOf(2_500, 3_000) })
})
afterEach(() => pool.close())
afterAll(() => rmSync(directory, { recursive: true }))

/** What the snapshot has. */
function rowsAt({ logRows }: Snapshot): TestRow[] {
  return [...graphed.rows, ...written.rows.slice(0, logRows)]
}

describe('answers', () => {
  test('are those of the snapshot, however many rows the last segment has meanwhile', async () => {
    await openPool()
    for (const logRows of [0, 1, 399, 500]) {
      const query = queryOf({ exact: true, k: 3_000 })
      const [answer] = await pool.search({ ...snapshot, logRows }, [query])
      expect(answer!.hits).toEqual(naiveHits(rowsAt({ ...snapshot, logRows }), snapshot.sequence, query, ties))
    }
  })

  test('of a batch are those of its queries one by one, and come in order', async () => {
    await openPool()
    const allowed = allowedOf(
      Array.from({ length: items / 4 }, (_, i) => 4 * i),
      items,
    )
    const queries = Array.from({ length: 60 }, (_, i) =>
      queryOf({ k: 1 + i, exact: i % 5 === 1, allowed: i % 3 === 0 ? allowed : null, exclude: i }, i % clusters),
    )
    const batch = await pool.search(snapshot, queries)
    const single = await Promise.all(queries.map(query => pool.search(snapshot, [query])))
    expect(batch).toEqual(single.flat())
    expect(batch.map(({ plan }) => plan.kind === 'exact')).toEqual(queries.map(({ exact }) => exact))
    expect(await pool.search(snapshot, [])).toEqual([])
  })

  test('of exact queries do not hold up those sent after them', async () => {
    startPool({ threads: 1 })
    const told: string[] = []
    const ask = (name: string, options: Partial<WireQuery>): Promise<unknown> =>
      pool.search(snapshot, [queryOf(options)]).then(() => told.push(name))
    const [exact, filtered] = [{ exact: true }, { allowed: allowedOf([1, 2, 3], items) }]
    // All of it lies in the thread's queue before the thread has started, the filtered ones behind the exact ones.
    const laidOut = pool.setLayout([graphed.view, written.view])
    const asked = [ask('exact', exact), ask('other', {}), ask('filtered', filtered), ask('exact', exact)]
    await Promise.all([laidOut, ...asked, ask('filtered', filtered)])
    expect(told).toEqual(['other', 'filtered', 'filtered', 'exact', 'exact'])
  })

  test('are told whether or not they fit where the queries lie, and however many wait', async () => {
    await openPool()
    const queries = Array.from({ length: 400 }, (_, i) => queryOf({ k: i % 50 === 7 ? 700 : 10 }, i % clusters))
    const answers = await Promise.all(queries.map(query => pool.search(snapshot, [query])))
    answers.forEach(([answer], i) => {
      expect(answer!.hits).toHaveLength(queries[i]!.k)
    })
    expect(await pool.search(snapshot, queries)).toEqual(answers.flat())
    expect(pool.inFlight).toBe(0)
  })

  test('that nobody waits for any more are not computed, if they had not been handed over', async () => {
    startPool({ threads: 1 })
    const abort = new AbortController()
    const many = Array.from({ length: 200 }, (_, i) => queryOf({ audit: true }, i % clusters))
    const asked = pool.search(snapshot, many, abort.signal)
    const last = pool.search(snapshot, [queryOf()])
    abort.abort()
    await expect(asked).rejects.toBe(abort.signal.reason)
    await pool.setLayout([graphed.view, written.view])
    expect((await last)[0]!.hits).toEqual([])
    await until(() => pool.inFlight === 0, 'the end of searches and audits')
    expect(audits).toHaveLength(64)
  })

  test('take nothing but the vector of a query to the thread, not the memory it lies in', async () => {
    await openPool()
    const query = queryOf({ allowed: allowedOf([2, 3, 5, 7], items) })
    const lying = new Float32Array(dims * 3)
    lying.set(query.vector, dims)
    const inside = { ...query, vector: lying.subarray(dims, 2 * dims) }
    expect(await pool.search(snapshot, [inside])).toEqual(await pool.search(snapshot, [query]))
  })

  test('end with the reason of the signal when it comes first', async () => {
    await openPool()
    const reason = new Error('too late')
    const abort = new AbortController()
    const asked = pool.search(snapshot, [queryOf(), queryOf({ exact: true })], abort.signal)
    abort.abort(reason)
    await expect(asked).rejects.toBe(reason)
    await expect(pool.search(snapshot, [queryOf()], abort.signal)).rejects.toBe(reason)
    await until(() => pool.inFlight === 0, 'the end of searches and audits')
    const unused = new AbortController().signal
    await expect(pool.search(snapshot, [queryOf()], unused)).resolves.toHaveLength(1)
  })
})

describe('audits', () => {
  test('tell the recall of approximate answers, of the rows they were given from', async () => {
    await openPool()
    const queries = Array.from({ length: 12 }, (_, i) => queryOf({ audit: true, effort: 20 + i }, i))
    const asked = pool.search(snapshot, queries)
    // Audits go on with the layout of their query, whatever comes after it.
    const laidOut = asked.then(() => pool.setLayout([]))
    const answers = await asked
    await laidOut
    await until(() => pool.inFlight === 0, 'the end of searches and audits')
    const recalls = answers.map(({ hits }, i) => {
      const best = naiveHits(rowsAt(snapshot), snapshot.sequence, queries[i]!, ties)
      return { effort: 20 + i, recall: best.filter(({ item }) => hits.some(hit => hit.item === item)).length / 10 }
    })
    const told = audits.map(({ effort, recall }) => ({ effort, recall }))
    expect(told.sort((a, b) => a.effort - b.effort)).toEqual(recalls)
    expect(audits.every(({ cpuMs }) => cpuMs > 0)).toBe(true)
  })

  test('are counted while they run, and never made of exact answers', async () => {
    await openPool()
    await pool.search(snapshot, [queryOf({ audit: true, exact: true })])
    expect(pool.inFlight).toBe(0)
    const asked = pool.search(snapshot, [queryOf({ audit: true })])
    expect(pool.inFlight).toBeGreaterThan(0)
    await asked
    await until(() => pool.inFlight === 0, 'the end of searches and audits')
    expect(audits).toHaveLength(1)
  })

  test('of nothing found where nothing is are perfect', async () => {
    await openPool([])
    await pool.search(snapshot, [queryOf({ audit: true })])
    await until(() => audits.length === 1, 'the audit')
    expect(audits[0]).toMatchObject({ recall: 1 })
  })
})

describe('layouts', () => {
  test('hold for the searches that follow, not for those before', async () => {
    await openPool([graphed.view, written.view])
    const all = { k: 3_000, exact: true }
    const before = pool.search(snapshot, [queryOf(all)])
    const laidOut = pool.setLayout([{ ...written.view, rows: 300 }, { ...graphed.view }])
    const after = pool.search(snapshot, [queryOf(all)])
    await laidOut
    expect((await before)[0]!.hits).toHaveLength(2_900)
    expect((await after)[0]!.hits).toHaveLength(2_800)
  })

  test('of which a segment is gone are unmapped, once the last exact search of it has ended', async () => {
    const common = { dims, items, threads, directory, order: 'item', hasGraph: true } as const
    const { view } = await buildSegment({ ...common, id: 3, rows: setsOf(0, 600) })
    const path = view.graph!.path
    await openPool([view])
    expect(isMapped(path)).toBe(true)
    const asked = pool.search(snapshot, [queryOf({ exact: true })])
    await pool.setLayout([])
    expect((await asked)[0]!.hits).toHaveLength(10)
    await until(() => !isMapped(path), 'unmapping of the graph')
  })

  test('that cannot be opened fail the pool', async () => {
    await openPool()
    const missing = { ...graphed.view, id: 9, graph: { path: join(directory, 'missing'), size: 1 } }
    await expect(pool.setLayout([missing])).rejects.toMatchObject({ code: 'storage-failed' })
    expect(await pool.failed).toMatchObject({ code: 'storage-failed' })
    await expect(pool.search(snapshot, [queryOf()])).rejects.toMatchObject({ code: 'storage-failed' })
    await expect(pool.setLayout([])).rejects.toMatchObject({ code: 'storage-failed' })
  })
})

describe('failures', () => {
  test('vectors that cannot be read fail their query, and no other', async () => {
    const common = { dims, items, threads, directory, order: 'item', isCompressed: true } as const
    const stored = await buildSegment({ ...common, id: 4, rows: setsOf(0, 600) })
    const { path } = stored.view.vectors!
    await openPool([{ ...stored.view, vectors: { path, at: 1_000_000 } }])
    for (const query of [queryOf(), queryOf({ exact: true })])
      await expect(pool.search(snapshot, [query])).rejects.toMatchObject({ code: 'storage-failed' })
    await pool.setLayout([graphed.view])
    await expect(pool.search(snapshot, [queryOf()])).resolves.toHaveLength(1)
    expect(pool.inFlight).toBe(0)
  })

  test('a thread that dies fails what waits and what comes later', async () => {
    startPool({ program: new URL('../testing/dying-thread.ts', import.meta.url) })
    const waiting = pool.search(snapshot, [queryOf()])
    await expect(waiting).rejects.toMatchObject({ code: 'internal' })
    expect((await pool.failed).message).toBe('a search thread failed')
    await expect(pool.search(snapshot, [queryOf()])).rejects.toMatchObject({ code: 'internal' })
    expect(pool.inFlight).toBe(0)
  })

  test('closing answers what was asked before and refuses what comes after', async () => {
    await openPool()
    const asked = pool.search(snapshot, [queryOf()])
    const closing = pool.close()
    await expect(asked).resolves.toHaveLength(1)
    await expect(pool.search(snapshot, [queryOf()])).rejects.toMatchObject({ code: 'not-ready' })
    await expect(pool.setLayout([])).rejects.toMatchObject({ code: 'not-ready' })
    await closing
  })
})

function isMapped(path: string): boolean {
  return readFileSync('/proc/self/maps', 'utf8').includes(path)
}
