import type { Static } from '@sinclair/typebox'
import { asFreshetError, FreshetError, isErrorCode } from './errors.ts'
import type { Generation, ItemId, Offset, ReplicaId, ShardId } from './ids.ts'
import type { Box } from './mutation.ts'
import type {
  CutTaken,
  ItemAtCut,
  ItemRegisters,
  ItemSnapshot,
  ReplicaStatus,
  ShardHit,
  ShardSearchRequest,
  ShardSearchResult,
} from './shard-api.ts'
import {
  ChangedWire,
  CutBucketOrder,
  CutEndOrder,
  CutItemsOrder,
  CutItemsWire,
  CutOrder,
  CutWire,
  DoneWire,
  ErrorWire,
  type HitRow,
  RegistersWire,
  SearchBatchWire,
  SearchRequestWire,
  SearchResultsWire,
  type SearchResultWire,
  SnapshotOrder,
  StatusWire,
  VectorWire,
} from './shard-shapes.ts'
import { codec, malformed, type WireCodec } from './shard-wire-codec.ts'

/**
 * What gateways and shard replicas say to each other over HTTP, as text: JSON, with vectors as base64 of their f32
 * components, so that every bit arrives. Each side checks what it is told before it believes it.
 */

/** Of all routes of a replica: `/shard/v1/<replica>/<what>`. */
export const shardPrefix = '/shard/v1'

export function replicaPath(replica: ReplicaId): string {
  return `${shardPrefix}/${encodeURIComponent(replica)}`
}

export const wireHeaders = {
  /** Of a request: the server gives up after so long. */
  timeoutMs: 'freshet-timeout-ms',
  /** Of a request, and repeated in its answer: one that belongs to another request shows. */
  call: 'freshet-call',
  /** Of an answer: who gave it, see `replicaTag`. */
  replica: 'freshet-replica',
} as const

/** A replica in a header. */
export function replicaTag(of: {
  readonly generation: Generation
  readonly shard: ShardId
  readonly replica: ReplicaId
}): string {
  return `${of.generation}/${of.shard}/${encodeURIComponent(of.replica)}`
}

export const searchRequestWire: WireCodec<ShardSearchRequest> = codec(SearchRequestWire, 'bad-request', {
  toWire: requestToWire,
  fromWire: requestFromWire,
})
export const searchBatchWire: WireCodec<readonly ShardSearchRequest[]> = codec(SearchBatchWire, 'bad-request', {
  toWire: (requests: readonly ShardSearchRequest[]) => ({ requests: requests.map(requestToWire) }),
  fromWire: ({ requests }) => requests.map(requestFromWire),
})
export const snapshotOrderWire: WireCodec<{ readonly directory: string }> = codec(SnapshotOrder, 'bad-request')

export const searchResultsWire: WireCodec<readonly ShardSearchResult[]> = codec(
  SearchResultsWire,
  'replica-unavailable',
  {
    toWire: (results: readonly ShardSearchResult[]) => ({ results: results.map(resultToWire) }),
    fromWire: ({ results }) => results.map(resultFromWire),
  },
)
export const registersWire: WireCodec<ItemRegisters> = codec(RegistersWire, 'replica-unavailable', {
  toWire: registers => registers,
  fromWire: registersFromWire,
})
export const vectorWire: WireCodec<Float32Array | null> = codec(VectorWire, 'replica-unavailable', {
  toWire: (vector: Float32Array | null) => ({ vector: vector && textOfVector(vector) }),
  fromWire: ({ vector }) => (vector === null ? null : vectorOfText(vector, 'replica-unavailable')),
})
export const statusWire: WireCodec<ReplicaStatus> = codec(StatusWire, 'replica-unavailable')
/** Whether there was a change; not, when the time to wait was over or the replica drains. */
export const changedWire: WireCodec<{ readonly changed: boolean }> = codec(ChangedWire, 'replica-unavailable')
export const cutOrderWire: WireCodec<{ readonly partition: number; readonly offset: number }> = codec(
  CutOrder,
  'bad-request',
)
export const cutItemsOrderWire: WireCodec<{ readonly cut: string; readonly itemIds: readonly ItemId[] }> = codec(
  CutItemsOrder,
  'bad-request',
)
export const cutBucketOrderWire: WireCodec<{ readonly cut: string; readonly bucket: number }> = codec(
  CutBucketOrder,
  'bad-request',
)
export const cutEndOrderWire: WireCodec<{ readonly cut: string }> = codec(CutEndOrder, 'bad-request')
export const cutWire: WireCodec<CutTaken> = codec(CutWire, 'replica-unavailable')
export const cutItemsWire: WireCodec<{ readonly items: readonly ItemAtCut[] }> = codec(
  CutItemsWire,
  'replica-unavailable',
)
export const doneWire: WireCodec<{ readonly ok: true }> = codec(DoneWire, 'replica-unavailable')

const errorWire = codec(ErrorWire, 'replica-unavailable')

/** The failure that an error answer tells of; one in words that are not ours is the replica's own failure. */
export function errorOfAnswer(text: string): FreshetError {
  try {
    const { code, message, details } = errorWire.decode(text).error
    if (isErrorCode(code)) return new FreshetError(code, message, { details })
    return new FreshetError('replica-unavailable', `${code}: ${message}`, { details })
  } catch (thrown) {
    return asFreshetError(thrown)
  }
}

function requestToWire(request: ShardSearchRequest) {
  return { ...request, vector: textOfVector(request.vector) }
}

function requestFromWire(wire: Static<typeof SearchRequestWire>): ShardSearchRequest {
  return { ...wire, vector: vectorOfText(wire.vector, 'bad-request') }
}

function resultToWire({ hits, ...others }: ShardSearchResult): object {
  return { hits: hits.map(rowOfHit), ...others }
}

function resultFromWire({ hits, ...others }: Static<typeof SearchResultWire>): ShardSearchResult {
  return { hits: hits.map(hitOfRow), ...others }
}

function rowOfHit({ itemId, similarity, object, item }: ShardHit): readonly unknown[] {
  return [
    itemId,
    similarity,
    object.box,
    object.label,
    object.image,
    item.title,
    item.category,
    item.price,
    item.currency,
    item.regions,
    item.available,
    item.attributes,
    item.images,
    item.imageDigests,
    item.stale,
    item.version,
  ]
}

function hitOfRow(row: HitRow): ShardHit {
  const itemId = row[0] as ItemId
  return {
    itemId,
    similarity: row[1],
    object: { box: row[2] as Box, label: row[3], image: row[4] },
    item: {
      itemId,
      title: row[5],
      category: row[6],
      price: row[7],
      currency: row[8],
      regions: row[9],
      available: row[10],
      attributes: row[11] as ItemSnapshot['attributes'],
      images: row[12],
      imageDigests: row[13],
      stale: row[14],
      version: row[15] as Offset,
    },
  }
}

function textOfVector(vector: Float32Array): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')
}

/** Copied: a buffer of Node's pool lies at any address, a `Float32Array` at a multiple of four. */
function vectorOfText(text: string, refusal: 'bad-request' | 'replica-unavailable'): Float32Array {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length % 4 !== 0) throw malformed(refusal, 'a vector of half a component', 'vector')
  const vector = new Float32Array(bytes.length / 4)
  new Uint8Array(vector.buffer).set(bytes)
  return vector
}

/** A code that a newer version added reads as `internal`; the message beside it is kept. */
function registersFromWire(wire: ItemRegisters): ItemRegisters {
  const { failureDetail } = wire
  if (failureDetail === null || isErrorCode(failureDetail.code)) return wire
  return { ...wire, failureDetail: { ...failureDetail, code: 'internal' } }
}
