import type { ShardTuning } from '../shard-node-options.ts'

/**
 * Segments and files so small that a few hundred items pass through every transition: rotation, builds, graphs, merges,
 * renumbering, compaction of the item log.
 */
export const tinyTuning = {
  index: { threads: 1, logRows: 64, graphRows: 256, sequenceLimit: 400 },
  items: { logFileBytes: 40_000, logGarbageBytes: 20_000, contentsKept: 20, answersKept: 30 },
} as const satisfies Partial<ShardTuning>
