import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { encodeF16 } from '../schemas/unit-vector.ts'
import type { ItemOperation } from './item-index.ts'
import { Searcher } from './searcher.ts'
import { clusteredVectors } from './testing/clustered-vectors.ts'

const directory = mkdtempSync(join(tmpdir(), 'freshet-searcher-'))
afterAll(() => rmSync(directory, { recursive: true }))

const dims = 64
const tuning = { dims, expansionAdd: 64, expansionSearch: 64 }
const query = { k: 1, exact: false, allowed: null, exclude: -1 }

test('answers come in the order of the requests, each with what was applied before it and nothing after', async () => {
  const searcher = new Searcher({ ...tuning, directory })
  const source = clusteredVectors({ seed: 2, dims, clusters: 4, spread: 0.6 })
  const vectors = Array.from({ length: 400 }, (_, i) => source.next(i % 4))
  const told: string[] = []
  const searches = vectors.map((vector, item) => {
    const put: ItemOperation = { type: 'put', item, tie: item, shown: true, vectors: encodeF16(vector) }
    searcher.post('apply', [put], () => told.push(`put ${item}`))
    const found = searcher.ask('search', { ...query, vector }, ({ hits }) => told.push(`found ${hits[0]?.item}`))
    searcher.post('apply', [{ type: 'drop', item }], () => told.push(`dropped ${item}`))
    return found
  })
  await Promise.all(searches)
  await searcher.ask('statistics', null, ({ rows }) => expect(rows).toBe(0))
  expect(told).toEqual(vectors.flatMap((_, item) => [`put ${item}`, `found ${item}`, `dropped ${item}`]))
  await searcher.close()
})

test('a thread that dies fails what waits and what comes later, and says so once', async () => {
  const searcher = new Searcher({ ...tuning, directory: join(directory, 'missing') })
  const waiting = searcher.ask('statistics', null, statistics => statistics)
  expect((await searcher.failed).message).toContain('the search thread failed')
  await expect(waiting).rejects.toMatchObject({ code: 'internal' })
  await expect(searcher.ask('statistics', null, statistics => statistics)).rejects.toMatchObject({ code: 'internal' })
  await searcher.close()
})

test('closing answers what was asked before and refuses what comes after', async () => {
  const searcher = new Searcher({ ...tuning, directory })
  const asked = searcher.ask('statistics', null, ({ rows }) => rows)
  const closing = searcher.close()
  await expect(searcher.ask('statistics', null, ({ rows }) => rows)).rejects.toMatchObject({ code: 'not-ready' })
  expect(await asked).toBe(0)
  await closing
})

test('a thread that is building its graph closes without harm to the process', async () => {
  const source = clusteredVectors({ seed: 4, dims, clusters: 4, spread: 0.6 })
  const puts = Array.from({ length: 500 }, (_, item): ItemOperation => {
    return { type: 'put', item, tie: item, shown: true, vectors: encodeF16(source.next(item % 4)) }
  })
  for (let round = 0; round < 10; round++) {
    const searcher = new Searcher({ ...tuning, directory })
    searcher.post('apply', puts, () => undefined)
    expect(await searcher.ask('statistics', null, ({ rows }) => rows)).toBe(500)
    await searcher.close()
  }
})

test('a request that cannot be done fails the thread, which still closes', async () => {
  const searcher = new Searcher({ ...tuning, directory })
  searcher.post('apply', [null as unknown as ItemOperation], () => undefined)
  expect((await searcher.failed).code).toBe('internal')
  await searcher.close()
})

test('what `receive` throws rejects its own request only', async () => {
  const searcher = new Searcher({ ...tuning, directory })
  const failing = searcher.ask('statistics', null, () => {
    throw new Error('not understood')
  })
  await expect(failing).rejects.toThrow('not understood')
  expect(await searcher.ask('statistics', null, ({ segments }) => segments)).toBe(1)
  await searcher.close()
})
