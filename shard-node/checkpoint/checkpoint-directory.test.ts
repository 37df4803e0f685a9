import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ShardFiles } from '../files/shard-files.ts'
import type { SavedSegment } from '../segments/segment.ts'
import { CheckpointDirectory } from './checkpoint-directory.ts'
import { type CheckpointManifest, checkpointFormat } from './manifest.ts'

const none = (): ReadonlySet<string> => new Set()
const mebibyte = 2 ** 20
let path: string
let directory: CheckpointDirectory

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'freshet-checkpoints-'))
  directory = new CheckpointDirectory(new ShardFiles(path))
})
afterEach(() => rm(path, { recursive: true }))

/** Of so many bytes by the manifest; the content of the file is nobody's business here. */
function segment(id: number, bytes: number): SavedSegment {
  return {
    id,
    rows: {
      file: `rows-${id}`,
      bytes,
      crc32: 0,
      order: 'log',
      rows: 1,
      dims: 8,
      firstOrdinal: id,
      lastOrdinal: id,
      items: 1,
      vectorsAt: 64,
    },
    graph: null,
  }
}

function manifestOf(sequence: number, segments: readonly SavedSegment[]): CheckpointManifest {
  return {
    format: checkpointFormat,
    sequence,
    writtenAtMs: 1_000,
    generation: 'g1',
    fingerprint: 'f',
    dims: 8,
    topicEpoch: '00',
    next: {},
    lastAppendTimeMs: 0,
    watermarks: {},
    digests: {},
    refused: [],
    items: { files: [] },
    segments,
  }
}

async function publish(sequence: number, segments: readonly SavedSegment[], inUse = none): Promise<void> {
  for (const { rows } of segments) await writeFile(join(path, rows.file), '')
  await directory.publish(manifestOf(sequence, segments), inUse)
}

async function sequences(): Promise<unknown[]> {
  return (await directory.find()).map(found => [
    found.name,
    'manifest' in found ? found.manifest.sequence : found.error,
  ])
}

test('the checkpoint before is kept while it costs little, with its files', async () => {
  const [large, small, next] = [segment(1, 900 * mebibyte), segment(2, mebibyte), segment(3, mebibyte)]
  await publish(1, [large, small])
  await publish(2, [large, next])
  expect(await sequences()).toEqual([
    ['MANIFEST', 2],
    ['MANIFEST.previous', 1],
  ])
  expect((await readdir(path)).sort()).toEqual(['MANIFEST', 'MANIFEST.previous', 'rows-1', 'rows-2', 'rows-3'])
  await publish(3, [large])
  expect((await readdir(path)).sort()).toEqual(['MANIFEST', 'MANIFEST.previous', 'rows-1', 'rows-3'])
})

test('after a merge the checkpoint before goes, but not what the running index still reads', async () => {
  const [before, merged] = [segment(1, 900 * mebibyte), segment(2, 800 * mebibyte)]
  await publish(1, [before])
  await publish(2, [merged], () => new Set(['rows-1']))
  expect((await readdir(path)).sort()).toEqual(['MANIFEST', 'rows-1', 'rows-2'])
  await directory.prune(none)
  expect((await readdir(path)).sort()).toEqual(['MANIFEST', 'rows-2'])
})

test('files of former formats and unfinished ones go; a manifest that cannot be read keeps all', async () => {
  await publish(1, [segment(4, 1)])
  for (const name of ['items-3', 'graph-3', 'graph-empty', 'rows-9.tmp', 'rows-2.corrupt', 'notes'])
    await writeFile(join(path, name), '')
  expect(await directory.lastNumber()).toBe(9)
  await writeFile(join(path, 'MANIFEST.previous'), '{')
  await directory.prune(none)
  expect(await readdir(path)).toContain('items-3')
  await rm(join(path, 'MANIFEST.previous'))
  await directory.prune(none)
  expect((await readdir(path)).sort()).toEqual(['MANIFEST', 'notes', 'rows-2.corrupt', 'rows-4'])
})
