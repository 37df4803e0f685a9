/** What a block of row memory is made for. */
export interface RowShape {
  /** A multiple of 8, at most 1,024. */
  readonly dims: number
  /** Rows it has room for. */
  readonly capacity: number
  /** Item numbers in it are below this; a multiple of 32. Sizes the bitmap a filter is copied into. */
  readonly items: number
  /** False: only codes are held, the vectors lie on disk. */
  readonly vectors: boolean
  /** Threads that may search it, each with a scratch area of its own. */
  readonly threads: number
}

/** What another thread needs to use the same memory. */
export interface RowMemoryHandle {
  readonly shape: RowShape
  readonly memory: WebAssembly.Memory
}

/**
 * Whether a row is seen, as one u32 per row that the owner writes and searches read. A search of snapshot s sees a row
 * of word w when
 * | w             | meaning                     | seen            | kept by compaction |
 * | 0             | visible                     | always          | yes |
 * | bit 31 + born | shown at sequence `born`    | s >= born       | yes |
 * | bit 30 + hid  | hidden at sequence `hid`    | s < hid         | yes |
 * | died          | replaced or removed then    | s < died        | no  |
 * Sequences are 1 to 2^30 - 1; before they run out the owner writes 0, bit 30 + 0 or 1 in their place while no search
 * runs.
 */
export const visibility = { bornBit: 0x80000000, hiddenBit: 0x40000000, sequenceMask: 0x3fffffff } as const

/**
 * Columns of rows in one shared WebAssembly memory (under 4 GiB), so that the kernel reads them in place and every
 * thread sees what the owner writes. Row r of all columns belongs together.
 */
export interface RowColumns {
  readonly shape: RowShape
  /** 1-bit codes, dims / 8 bytes each: bit i is set when component i is larger than the mean's. */
  readonly codes: Uint8Array
  readonly items: Uint32Array
  /** Which of the item's objects. */
  readonly objects: Uint8Array
  /** See `visibility`. */
  readonly words: Uint32Array
  /** f16 vectors, dims halves each; empty when the shape has no vectors. */
  readonly halves: Uint16Array
}
