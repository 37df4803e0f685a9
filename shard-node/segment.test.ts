import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { ExactSegment } from './exact-segment.ts'
import { GraphSegment, type GraphShape, writeEmptyGraph } from './graph-segment.ts'
import type { Segment } from './segment.ts'
import { clusteredVectors } from './testing/clustered-vectors.ts'

const shape: GraphShape = { dims: 256, connectivity: 16, expansionAdd: 64, expansionSearch: 96 }
const rows = 3_000
const clusters = 60
const directory = mkdtempSync(join(tmpdir(), 'freshet-segment-'))
const empty = join(directory, 'empty')
const source = clusteredVectors({ seed: 7, dims: shape.dims, clusters, spread: 0.9 })
const graph: Segment & GraphSegment = newGraph()
const oracle: Segment = new ExactSegment()

function newGraph(): GraphSegment {
  writeEmptyGraph(empty, shape)
  return new GraphSegment(shape, empty)
}

beforeAll(() => {
  for (let ordinal = 1; ordinal <= rows; ordinal++) {
    const vector = source.next(ordinal % clusters)
    graph.add(ordinal, vector)
    oracle.add(ordinal, vector)
  }
})

afterAll(() => rmSync(directory, { recursive: true }))

test('64 candidates of the graph hold at least 99% of the ten nearest rows', () => {
  let found = 0
  const queries = 100
  for (let query = 0; query < queries; query++) {
    const vector = source.next(query % clusters)
    const candidates = new Set(graph.search(vector, 64).ordinals)
    found += oracle.search(vector, 10).ordinals.filter(ordinal => candidates.has(ordinal)).length
  }
  expect(found / (queries * 10)).toBeGreaterThanOrEqual(0.99)
})

test('both give rows best first, never more than there are', () => {
  for (const segment of [graph, oracle]) {
    const { ordinals, scores } = segment.search(source.next(1), rows * 2)
    expect(ordinals.length).toBeLessThanOrEqual(rows)
    expect(scores).toEqual([...scores].sort((a, b) => b - a))
  }
  expect(newGraph().search(source.next(0), 10)).toEqual({ ordinals: [], scores: [] })
})

test('a saved graph loads with the same answers and takes further rows', () => {
  const path = join(directory, 'saved')
  graph.save(path)
  const loaded = GraphSegment.load(path, rows, shape, empty)
  const query = source.next(3)
  expect(loaded.search(query, 20)).toEqual(graph.search(query, 20))
  loaded.add(rows + 1, query)
  expect(loaded.search(query, 1).ordinals).toEqual([rows + 1])
  loaded.release()
  expect(loaded.size).toBe(0)
})

test('a graph of another size than the manifest says is refused', () => {
  const path = join(directory, 'other')
  graph.save(path)
  expect(() => GraphSegment.load(path, rows - 1, shape, empty)).toThrow(FreshetError)
})

test('a graph that does not reach the disk whole is an error', () => {
  expect(statSync('/dev/full').isCharacterDevice()).toBe(true)
  expect(() => newGraph().save('/dev/full')).toThrow(/not written whole/)
  expect(() => graph.save('/dev/full')).toThrow()
})
