import { createHash } from 'node:crypto'
import { FreshetError } from '../schemas/errors.ts'
import type { PartitionDigest } from '../schemas/shard-api.ts'
import type { RefusedRecord } from './refused-records.ts'

export const checkpointFormat = 1

/** A file of a checkpoint as it must be found again. */
export interface SavedFile {
  /** Name in the checkpoint's directory. */
  readonly file: string
  readonly bytes: number
  /** SHA-256 of the content, hex. */
  readonly sha256: string
}

export interface SavedItems extends SavedFile {
  readonly count: number
}

export interface SavedRows extends SavedFile {
  readonly count: number
}

/** A rebuildable cache: absent or unusable, the rows are graphed anew. */
export interface SavedGraph extends SavedFile {
  /** Vectors in the file, dead ones included. */
  readonly size: number
  /** `first` of the rows it was built from; fits only a rows file with the same. */
  readonly first: number
  /** Rows of ordinals below this are in it. */
  readonly segmented: number
  /** Name and version of the library that wrote it. */
  readonly library: string
}

export interface SavedWatermark {
  readonly offset: number
  readonly oldestPendingTimeMs: number | null
  readonly writtenAtMs: number
}

/** Content of MANIFEST; described byte by byte in FORMAT.md. */
export interface CheckpointManifest {
  readonly format: number
  /** Grows by one with each checkpoint of a directory. */
  readonly sequence: number
  readonly writtenAtMs: number
  readonly generation: string
  readonly fingerprint: string
  readonly dims: number
  readonly topicEpoch: string
  /** Per partition: offset of the next mutation record to apply. */
  readonly next: Readonly<Record<string, number>>
  /** Append time of the newest record applied; 0 when there was none. */
  readonly lastAppendTimeMs: number
  readonly watermarks: Readonly<Record<string, SavedWatermark>>
  readonly digests: Readonly<Record<string, PartitionDigest>>
  /** Records refused and not made good yet. */
  readonly refused: readonly RefusedRecord[]
  readonly items: SavedItems
  readonly rows: SavedRows
  readonly graph: SavedGraph | null
}

export function encodeManifest(manifest: CheckpointManifest): string {
  return JSON.stringify({ manifest, sha256: digestOf(manifest) })
}

/** @throws FreshetError `checkpoint-corrupt` | `data-format` (a format this version does not read) */
export function decodeManifest(text: string): CheckpointManifest {
  const { manifest, sha256 } = parse(text)
  if (typeof manifest !== 'object' || manifest === null || digestOf(manifest) !== sha256)
    throw new FreshetError('checkpoint-corrupt', 'the manifest does not match its checksum')
  const { format } = manifest as Partial<CheckpointManifest>
  if (format !== checkpointFormat)
    throw new FreshetError(
      'data-format',
      `the checkpoint has format ${format}, this version reads ${checkpointFormat}`,
      {
        details: { step: 'remove the checkpoint directory: the shard is rebuilt from the log' },
      },
    )
  return manifest as CheckpointManifest
}

function parse(text: string): { readonly manifest?: unknown; readonly sha256?: unknown } {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : {}
  } catch (cause) {
    throw new FreshetError('checkpoint-corrupt', 'the manifest is not JSON', { cause })
  }
}

/** JSON keeps the order of keys through parse and stringify, so the text signed is the text read. */
function digestOf(manifest: object): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex')
}
