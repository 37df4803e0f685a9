import type { RowMemoryHandle } from '../kernel/row-memory.ts'

/** A file as it must be found again. */
export interface SavedFile {
  /** Name in the shard's directory. */
  readonly file: string
  readonly bytes: number
  /** CRC-32 (zlib) of the content. */
  readonly crc32: number
}

/**
 * Rows on disk, never changed once written: header, then one column after another (FORMAT.md, "rows").
 * `log`: in the order they were put, ordinals without gaps, replaced sets among them. `item`: sorted by item, one set
 * an item.
 */
export interface SavedRows extends SavedFile {
  readonly order: 'log' | 'item'
  readonly rows: number
  readonly dims: number
  /** Ordinals lie in first..last. */
  readonly firstOrdinal: number
  readonly lastOrdinal: number
  /** Item numbers lie below. */
  readonly items: number
  /** Where the vectors begin in the file. */
  readonly vectorsAt: number
}

/** A rebuildable cache over the rows of a file; its keys are row numbers of that file. */
export interface SavedGraph extends SavedFile {
  readonly size: number
  readonly dims: number
  /** Name and version of the library that wrote it. */
  readonly library: string
}

/** A segment of the index as manifests name it. */
export interface SavedSegment {
  /** Never used again in a directory. */
  readonly id: number
  readonly rows: SavedRows
  readonly graph: SavedGraph | null
}

/** A segment as search threads are told of it. */
export interface SegmentView {
  readonly id: number
  readonly memory: RowMemoryHandle
  readonly order: 'log' | 'item'
  /** Rows in it; of the segment that is being written, its capacity: each query says how far to look. */
  readonly rows: number
  /** Mean the codes are centred on, f32. */
  readonly mean: Float32Array
  readonly graph: { readonly path: string; readonly size: number } | null
  /** Where vectors are read from when the memory has none. */
  readonly vectors: { readonly path: string; readonly at: number } | null
}
