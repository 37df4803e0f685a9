import { spawnSync } from 'node:child_process'
import { fstatSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dot } from '../../schemas/unit-vector.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { nobody, whyNoOtherUser } from '../testing/other-user.ts'
import { subspaceVectors } from '../testing/subspace-vectors.ts'
import { GraphBuilder, type GraphShape, GraphView, graphFileName, graphLibrary } from './graph-file.ts'
import type { SavedGraph } from './segment.ts'

const shape: GraphShape = { dims: 64, connectivity: 12, expansionAdd: 64 }
const rows = 3_000
const clusters = 60
const source = subspaceVectors({ seed: 7, dims: shape.dims, clusters, spread: 0.9 })
const vectors = new Float32Array(rows * shape.dims)
let directory: string
let files: ShardFiles
let built: GraphBuilder
let saved: SavedGraph
let view: GraphView

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-graphs-'))
  files = new ShardFiles(directory)
  for (let row = 0; row < rows; row++) vectors.set(source.query(row % clusters), row * shape.dims)
  built = new GraphBuilder(shape)
  for (let from = 0; from < rows; from += 700) built.add(vectors.slice(from * shape.dims, (from + 700) * shape.dims))
  saved = await built.save(files, 1)
  view = GraphView.open(files.path(saved.file), saved)
})
afterAll(() => rm(directory, { recursive: true }))

function nearest(query: Float32Array, count: number): number[] {
  const scores = Float64Array.from({ length: rows }, (_, row) => dot(query, vectors, row * shape.dims))
  return [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!).slice(0, count)
}

test('it says what was saved', async () => {
  expect(saved).toMatchObject({ file: 'graph-1', size: rows, dims: shape.dims, library: graphLibrary })
  expect(graphLibrary).toMatch(/^usearch \d+\.\d+\.\d+$/)
  await files.verify(saved)
})

test('40 candidates hold at least 98% of the ten nearest rows, and are rows best first', () => {
  let found = 0
  const queries = 100
  for (let i = 0; i < queries; i++) {
    const query = source.query(i % clusters)
    const candidates = [...view.search(query, 40)]
    expect(new Set(candidates).size).toBe(40)
    found += nearest(query, 10).filter(row => candidates.includes(row)).length
  }
  expect(found / (queries * 10)).toBeGreaterThanOrEqual(0.98)
  const own = vectors.slice(5 * shape.dims, 6 * shape.dims)
  expect(view.search(own, 3)[0]).toBe(5)
})

test('never more candidates than rows', () => {
  const candidates = view.search(source.query(0), rows * 2)
  expect(candidates.length).toBeLessThanOrEqual(rows)
  expect(candidates.every(row => row < rows)).toBe(true)
})

test('a graph that is released is not mapped any more', async () => {
  const mapped = async (): Promise<number> =>
    (await readFile('/proc/self/maps', 'utf8')).split('\n').filter(line => line.includes(directory)).length
  const before = await mapped()
  const second = GraphView.open(files.path(saved.file), saved)
  expect(await mapped()).toBe(before + 1)
  second.release()
  expect(await mapped()).toBe(before)
})

test('another size or dimension than the manifest says is refused', () => {
  const path = files.path(saved.file)
  for (const other of [
    { size: rows - 1, dims: shape.dims },
    { size: rows, dims: 32 },
  ])
    expect(() => GraphView.open(path, other)).toThrow(expect.objectContaining({ code: 'checkpoint-corrupt' }))
})

test('a graph that does not reach the disk whole leaves nothing', async () => {
  const small = new GraphBuilder(shape)
  small.add(vectors.slice(0, shape.dims))
  for (const [id, graph] of [small, built].entries()) {
    await symlink('/dev/full', files.path(files.unfinishedName(graphFileName(10 + id))))
    await expect(graph.save(files, 10 + id)).rejects.toMatchObject({ code: 'storage-full' })
  }
  expect(await files.list()).toEqual([saved.file])
})

test('a graph that cannot be opened is refused, and standard input stays open', () => {
  const input = fstatSync(0).ino
  expect(() => GraphView.open(files.path('none'), saved)).toThrow(expect.objectContaining({ code: 'storage-failed' }))
  expect(fstatSync(0).ino).toBe(input)
})

test("another user's graph is viewed", async context => {
  const whyNot = whyNoOtherUser()
  if (whyNot !== null) context.skip(whyNot)
  await chmod(directory, 0o755)
  const module = new URL('graph-file.ts', import.meta.url).href
  const program = `
    const { GraphView } = await import(${JSON.stringify(module)})
    const view = GraphView.open(${JSON.stringify(files.path(saved.file))}, ${JSON.stringify(saved)})
    console.log(process.getuid(), ...view.search(new Float32Array(${shape.dims}).fill(0.1), 3))`
  const options = { uid: nobody, gid: nobody, cwd: directory, encoding: 'utf8' } as const
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], options)
  const found = view.search(new Float32Array(shape.dims).fill(0.1), 3)
  expect([stdout, stderr]).toEqual([`${nobody} ${[...found].join(' ')}\n`, ''])
})
