import type { ErrorCode } from '../schemas/errors.ts'
import { type RouteAccess, routeAccess } from './access/route-access.ts'

/** Of every operation. */
const everywhere: readonly ErrorCode[] = ['bad-request', 'origin-refused', 'request-timeout', 'not-ready', 'internal']
/** Of those that ask who calls. */
const guarded: readonly ErrorCode[] = ['unauthenticated', 'rate-limited']
/** Of those with a JSON body. */
const withBody: readonly ErrorCode[] = ['body-too-large', 'unsupported-media-type']

const picture: readonly ErrorCode[] = [
  'image-empty',
  'image-format',
  'image-corrupt',
  'image-too-large',
  'image-too-many-pixels',
  'decoder-crashed',
  'decoder-timeout',
]
const fetched: readonly ErrorCode[] = [
  'image-scheme',
  'image-not-allowed',
  'image-private-address',
  'image-not-found',
  'image-refused',
  'image-host-busy',
  'image-host-unreachable',
  'image-timeout',
  'image-too-many-redirects',
]
const query: readonly ErrorCode[] = [
  ...picture,
  ...fetched,
  'blob-not-found',
  'object-not-found',
  'overloaded',
  'timeout',
  'blob-store-full',
]
const appended: readonly ErrorCode[] = ['log-unavailable', 'record-too-large', 'storage-full']
const item: readonly ErrorCode[] = ['bad-item-id', 'image-missing', ...appended]
const replica: readonly ErrorCode[] = ['bad-item-id', 'item-not-found', 'replica-unavailable']
const deadLetter: readonly ErrorCode[] = ['dead-letter-not-found']
const written: readonly ErrorCode[] = ['storage-full', 'storage-failed', 'not-found']

const generation: readonly ErrorCode[] = ['not-found', 'log-unavailable']
const decision: readonly ErrorCode[] = [...generation, ...withBody, 'step-refused', 'control-conflict', 'storage-full']

/** What an operation may answer besides, by its id. An operation that is not here has the failures of all. */
const particular: Readonly<Record<string, readonly ErrorCode[]>> = {
  search: [
    ...query,
    ...withBody,
    'item-not-found',
    'fingerprint-mismatch',
    'vector-dimension',
    'vector-not-finite',
    'vector-not-unit',
  ],
  detect: [...query, ...withBody],
  getItem: replica,
  similarItems: [...replica, 'object-not-found', 'overloaded', 'timeout'],
  putItem: [...item, ...withBody, ...picture, ...fetched],
  deleteItem: ['bad-item-id', ...appended],
  publishItems: ['unsupported-media-type'],
  getReceipt: ['bad-receipt'],
  putBlob: ['image-empty', 'image-format', 'image-too-large', 'blob-store-full', 'storage-full'],
  getBlob: ['blob-not-found'],
  getItemImage: [...replica, 'blob-not-found'],
  reportEngagements: [...withBody, 'bad-item-id', ...appended],
  streamStatus: ['overloaded'],
  getDeadLetter: deadLetter,
  redriveDeadLetter: deadLetter,
  dropDeadLetter: deadLetter,
  registerModel: [...decision, 'model-invalid'],
  getGeneration: generation,
  getEvidence: generation,
  buildGeneration: [...decision, 'model-invalid', 'topic-mismatch'],
  pauseGeneration: decision,
  resumeGeneration: decision,
  routeGeneration: decision,
  rollbackGeneration: decision,
  retireGeneration: decision,
  verifyGeneration: [...decision, 'timeout'],
  canaryGeneration: [...decision, 'timeout', 'config-invalid'],
  backup: [...withBody, ...written],
  snapshot: [...withBody, ...written],
}

/** Ids of the operations that have failures of their own; for the test that none is left over. */
export const particularOperations: readonly string[] = Object.keys(particular)

export interface DescribedOperation {
  readonly operationId: string
  /** In capitals. */
  readonly method: string
  /** As the document has it, such as `/v1/items/{id}`. */
  readonly path: string
}

/** Codes that an operation may answer with, each once. */
export function failuresOf(operation: DescribedOperation): readonly ErrorCode[] {
  const access = accessOf(operation)
  const ofAccess: readonly ErrorCode[] = access === 'anyone' ? [] : guarded
  const ofRole: readonly ErrorCode[] = access === 'write' || access === 'admin' ? ['forbidden'] : []
  return [...new Set([...everywhere, ...ofAccess, ...ofRole, ...(particular[operation.operationId] ?? [])])]
}

/** Who may call it where keys are in force. */
export function accessOf({ method, path }: DescribedOperation): RouteAccess {
  return routeAccess(method, path.replaceAll(/\{(\w+)\}/g, ':$1'))
}
