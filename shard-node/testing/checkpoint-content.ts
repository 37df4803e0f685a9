import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Mutation } from '../../schemas/mutation.ts'
import { decodeManifest } from '../checkpoint/manifest.ts'
import { clusteredVectors } from './clustered-vectors.ts'
import { attributesPut, itemRemoved, objectsPut, type ShardOnLog, workFailed } from './shard-on-log.ts'

const items = 300

/** Segments so small that `fill` makes some with a graph. */
export const smallSegments = { tuning: { index: { threads: 1, logRows: 64, graphRows: 128 } } } as const

/** Appends 300 items of every standing, with offsets from `from` on. */
export async function fill(shard: ShardOnLog, from: number): Promise<void> {
  const vectors = clusteredVectors({ seed: from, dims: shard.dims, clusters: 8, spread: 0.6 })
  const writes: Mutation[] = []
  for (let i = from; i < from + items; i++) {
    const id = `item-${i}`
    writes.push(attributesPut(id, i, { price: i }), objectsPut(id, i, [vectors.next(i % 8), vectors.next(1)]))
    if (i % 10 === 1) writes.push(itemRemoved(id, i + 1))
    if (i % 10 === 2) writes.push(attributesPut(id, i + 1), workFailed(id, i + 1))
    if (i % 10 === 3) writes.push(attributesPut(`new-${i}`, i), workFailed(`bad-${i}`, i))
  }
  await shard.append(writes)
  await shard.watermark(from)
}

/** Waits until the rows are merged into a segment with a graph, and writes a checkpoint of it. */
export async function checkpointWithGraph(shard: ShardOnLog): Promise<void> {
  await shard.node.settled()
  await shard.node.checkpoint()
  const manifest = decodeManifest(await readFile(join(shard.checkpointDirectory, 'MANIFEST'), 'utf8'))
  assert(
    manifest.segments.some(({ graph }) => graph !== null),
    'no segment has a graph',
  )
}

/** Everything a replica tells of its content. */
export async function contentOf(shard: ShardOnLog, node = shard.node): Promise<unknown> {
  const { digests, items: counts, watermark, rows, applied } = await node.status()
  const queries = clusteredVectors({ seed: 1, dims: shard.dims, clusters: 8, spread: 0.6 })
  const answers = []
  for (let i = 0; i < 8; i++) answers.push((await shard.search(queries.next(i), { node, k: 20, exact: true })).hits)
  return { digests, counts, watermark, rows, applied, answers }
}

/** Flips one bit at a place given as share of the file's length. */
export async function flipBit(path: string, at: number): Promise<void> {
  const bytes = await readFile(path)
  bytes[Math.floor(bytes.length * at)]! ^= 4
  await writeFile(path, bytes)
}
