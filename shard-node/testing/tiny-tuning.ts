import type { IndexTuning } from '../segments/index-tuning.ts'

/** Parts so small that a few hundred items pass through every transition: rotation, builds, graphs, merges, renumbering. */
export const tinyTuning: Partial<IndexTuning> = { logRows: 64, graphRows: 256, sequenceLimit: 400 }
