import { createHash } from 'node:crypto'
import { FreshetError } from '../../schemas/errors.ts'
import type { PartitionDigest } from '../../schemas/shard-api.ts'
import type { SavedWatermark } from '../index-age.ts'
import type { SavedItemLog } from '../items/item-log.ts'
import type { RefusedRecord } from '../refused-records.ts'
import type { SavedFile, SavedSegment } from '../segments/segment.ts'

export const checkpointFormat = 2

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
  readonly items: SavedItemLog
  readonly segments: readonly SavedSegment[]
}

export function encodeManifest(manifest: CheckpointManifest): string {
  return JSON.stringify({ manifest, sha256: digestOf(manifest) })
}

/**
 * @throws FreshetError `checkpoint-corrupt`; `checkpoint-too-old` for a former format, whose shard is rebuilt from the
 * log; `data-format` for one of a newer version of the program
 */
export function decodeManifest(text: string): CheckpointManifest {
  const { manifest, sha256 } = parse(text)
  if (typeof manifest !== 'object' || manifest === null || digestOf(manifest) !== sha256)
    throw new FreshetError('checkpoint-corrupt', 'the manifest does not match its checksum')
  const { format } = manifest as Partial<CheckpointManifest>
  if (format === checkpointFormat) return manifest as CheckpointManifest
  const what = `the checkpoint has format ${format}, this version reads ${checkpointFormat}`
  if (typeof format === 'number' && format < checkpointFormat) throw new FreshetError('checkpoint-too-old', what)
  throw new FreshetError('data-format', what, {
    details: { step: 'run the newer version, or remove the directory: the shard is then rebuilt from the log' },
  })
}

/** Every file that the checkpoint needs. */
export function filesOf({ items, segments }: CheckpointManifest): readonly SavedFile[] {
  return [...items.files, ...segments.flatMap(({ rows, graph }) => (graph === null ? [rows] : [rows, graph]))]
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
