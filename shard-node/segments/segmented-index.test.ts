import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { contractDims, testVectorIndex } from '../testing/vector-index-contract.ts'
import type { VectorIndex } from '../vector-index.ts'
import type { IndexTuning } from './index-tuning.ts'
import { SegmentedIndex } from './segmented-index.ts'

const root = mkdtempSync(join(tmpdir(), 'freshet-index-'))
afterAll(() => rmSync(root, { recursive: true }))

function openEmpty(ties: Uint32Array, tuning: Partial<IndexTuning> = {}): Promise<SegmentedIndex> {
  const fail = (error: Error): never => {
    throw error
  }
  return SegmentedIndex.open({
    directory: mkdtempSync(join(root, 'shard-')),
    dims: contractDims,
    ties,
    tuning: { threads: 2, logRows: 64, graphRows: 256, ...tuning },
    saved: [],
    standing: () => 'garbage',
    currentRows: 0,
    lastPartId: 0,
    onAlarm: fail,
    onFailure: fail,
  })
}

const compacted = async (index: VectorIndex): Promise<void> => {
  if (index instanceof SegmentedIndex) await index.compact(true)
}

testVectorIndex('of one part in memory', { open: ties => openEmpty(ties, { logRows: 16_384 }) })
testVectorIndex('of many small parts', { open: openEmpty })
testVectorIndex('compacted to one part with a graph', { open: openEmpty, arrange: compacted })
testVectorIndex('compacted, vectors on disk', {
  open: ties => openEmpty(ties, { kind: 'compressed' }),
  arrange: compacted,
})
