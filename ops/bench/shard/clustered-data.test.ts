import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { decodeF16, norm } from '../../../schemas/unit-vector.ts'
import { BareUsearch, buildBareUsearch, exactNeighbours } from './bare-usearch.ts'
import { ClusteredData } from './clustered-data.ts'

const dims = 64

test('a row depends on the seed and its number alone', () => {
  const data = new ClusteredData({ seed: 7, dims })
  const whole = data.block(0, 40)
  const segment = new ClusteredData({ seed: 7, dims }).block(30, 10)
  expect(segment.vectors).toEqual(whole.vectors.subarray(30 * dims))
  expect(segment.clusters).toEqual(whole.clusters.subarray(30))
  expect(data.block(0, 40, 'queries').vectors).not.toEqual(whole.vectors)
  expect(new ClusteredData({ seed: 8, dims }).block(0, 40).vectors).not.toEqual(whole.vectors)
})

test('rows are unit vectors, the same as f32 and as f16', () => {
  const { vectors, encoded } = new ClusteredData({ seed: 1, dims }).block(0, 100)
  expect(decodeF16(encoded)).toEqual(vectors)
  for (let i = 0; i < 100; i++) expect(norm(vectors.subarray(i * dims, (i + 1) * dims))).toBeCloseTo(1, 3)
})

test('clusters are unequal, and rows of one lie nearer to each other than to others', () => {
  const { vectors, clusters } = new ClusteredData({ seed: 3, dims }).block(0, 4_000)
  const counts = new Map<number, number>()
  for (const cluster of clusters) counts.set(cluster, (counts.get(cluster) ?? 0) + 1)
  expect(counts.get(0)!).toBeGreaterThan((5 * 4_000) / ClusteredData.clusters)
  const nearest = exactNeighbours(vectors, vectors.slice(0, 200 * dims), { dims, k: 2 })
  const together = nearest.filter(([self, other]) => clusters[self!] === clusters[other!]).length
  expect(together).toBeGreaterThan(100)
})

test('exact neighbours are those of a plain sort, over block boundaries, and the bare library finds most of them', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-bench-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const data = new ClusteredData({ seed: 5, dims })
  const rows = data.block(0, 3_000)
  const queries = data.block(0, 30, 'queries')
  const exact = exactNeighbours(rows.vectors, queries.vectors, { dims, k: 10, rowsPerBlock: 700 })
  expect(exact).toEqual(Array.from({ length: 30 }, (_, i) => sorted(rows.vectors, queryAt(queries.vectors, i))))
  const file = buildBareUsearch(rows.vectors, { path: join(directory, 'bare.usearch'), dims })
  const bare = new BareUsearch(file, 128)
  const found = exact.map((rows, i) => bare.search(queryAt(queries.vectors, i), 10).filter(row => rows.includes(row)))
  expect(found.flatMap(rows => [...rows]).length).toBeGreaterThan(290)
})

const queryAt = (queries: Float32Array, i: number): Float32Array => queries.subarray(i * dims, (i + 1) * dims)

function sorted(rows: Float32Array, query: Float32Array): Uint32Array {
  const scores = Array.from({ length: rows.length / dims }, (_, row) => {
    let score = 0
    for (let d = 0; d < dims; d++) score += rows[row * dims + d]! * query[d]!
    return { row, score }
  })
  return Uint32Array.from(scores.sort((a, b) => b.score - a.score).slice(0, 10), ({ row }) => row)
}
