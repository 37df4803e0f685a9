/** How a shard's index is laid out and searched. */
export interface IndexTuning {
  /** Search threads. */
  readonly threads: number
  /** `compressed`: vectors of item segments stay on disk, only their codes are in memory, and there are no graphs. */
  readonly kind: 'standard' | 'compressed'
  /** Rows after which the segment that is being written is frozen. */
  readonly logRows: number
  /** Item segments of fewer rows are scanned by their codes: that is as fast as a walk through a graph. */
  readonly graphRows: number
  /** Neighbours per graph node. */
  readonly connectivity: number
  /** Candidates kept while a row is added to a graph. */
  readonly expansionAdd: number
  /** Graph candidates asked of a segment of 200,000 rows, at the start. */
  readonly effort: number
  /** How often to look whether hardly anything changes, so that more is worth merging; infinite: never. */
  readonly calmMs: number
  /** Sequences end below (see `visibility`); smaller only in tests. */
  readonly sequenceLimit: number
}

/** Measured choices: 200,000 clustered vectors of 256 dimensions. */
export const standardTuning: IndexTuning = {
  threads: 2,
  kind: 'standard',
  logRows: 16_384,
  graphRows: 32_768,
  connectivity: 12,
  expansionAdd: 64,
  effort: 44,
  calmMs: 30_000,
  sequenceLimit: 2 ** 30 - 2 ** 20,
}

/** Log segments have their vectors in memory: with smaller ones there is less of that beside the codes. */
const compressedLogRows = 4_096

export function tuningOf(kind: IndexTuning['kind']): IndexTuning {
  return kind === 'standard' ? standardTuning : { ...standardTuning, kind, logRows: compressedLogRows }
}

/** One core is left to the owner of the index; a fifth thread has not been measured. */
export function searchThreadsFor(cores: number): number {
  return Math.max(1, Math.min(4, cores - 1))
}
