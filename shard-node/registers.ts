import type { ItemAttributes } from '../schemas/catalog-event.ts'
import type { ErrorCode } from '../schemas/errors.ts'
import type { ItemId } from '../schemas/ids.ts'
import type { AttributesPut, Box, ItemRemoved, ObjectsPut, RegisterMutation, WorkFailed } from '../schemas/mutation.ts'

/** Content of the attributes register. */
export interface AttributesContent extends ItemAttributes {
  readonly images: readonly string[]
  readonly imageVersion: string
  /** Broker's append time of the event, ms since 1970. */
  readonly acceptedAtMs: number
}

/** Content of the objects register without the vectors, which the search thread holds. */
export interface ObjectsContent {
  readonly imageIdentity: string
  readonly imageDigests: readonly string[]
  readonly objects: readonly StoredObject[]
}

export interface StoredObject {
  readonly box: Box
  readonly label: string
  readonly score: number
  readonly image: number
}

export interface FailureContent {
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly attempts: number
}

/**
 * The four last-writer-wins registers of one item (DESIGN section 3). Immutable: a write that changes nothing gives
 * the same object back, so that `===` tells whether anything happened.
 *
 * An offset is -1 when the register was never written. A content is null when its register was never written or is
 * beaten by the removal: such content can never count again, because removals only grow. Hence
 * live = attributes !== null, objects count = objects !== null.
 */
export interface ItemState {
  readonly itemId: ItemId
  readonly attributesOffset: number
  readonly objectsOffset: number
  readonly removalOffset: number
  readonly failureOffset: number
  /** Broker's append time of the newest removal; 0 when there is none. */
  readonly removedAtMs: number
  readonly attributes: AttributesContent | null
  readonly objects: ObjectsContent | null
  readonly failure: FailureContent | null
}

export function unwritten(itemId: ItemId): ItemState {
  return {
    itemId,
    attributesOffset: -1,
    objectsOffset: -1,
    removalOffset: -1,
    failureOffset: -1,
    removedAtMs: 0,
    attributes: null,
    objects: null,
    failure: null,
  }
}

/**
 * Folds one mutation into the item's registers: the maximum by version per register, so that any order and any
 * duplicates of the same mutations end in the same state. The epoch is not looked at: one index holds one epoch.
 */
export function applyMutation(state: ItemState, mutation: RegisterMutation): ItemState {
  switch (mutation.type) {
    case 'AttributesPut':
      return applyAttributes(state, mutation)
    case 'ObjectsPut':
      return applyObjects(state, mutation)
    case 'ItemRemoved':
      return applyRemoval(state, mutation)
    case 'WorkFailed':
      return applyFailure(state, mutation)
  }
}

export function isSearchable(state: ItemState): boolean {
  return state.attributes !== null && state.objects !== null
}

/** Newer image work failed while older objects are shown; at equal versions the objects win. */
export function isStale(state: ItemState): boolean {
  return isSearchable(state) && state.failureOffset > state.objectsOffset
}

/** What the operator counts an item as; `unknown` while no event has said anything of the item itself. */
export type ItemStanding = 'searchable' | 'pending' | 'failed' | 'deleted' | 'unknown'

export function standingOf(state: ItemState): ItemStanding {
  if (state.attributes === null) return state.removalOffset >= 0 ? 'deleted' : 'unknown'
  if (state.objects !== null) return 'searchable'
  return state.failure === null ? 'pending' : 'failed'
}

function applyAttributes(state: ItemState, put: AttributesPut): ItemState {
  const offset = put.version.offset
  if (offset <= state.attributesOffset) return state
  const attributes = offset > state.removalOffset ? attributesContent(put) : null
  return { ...state, attributesOffset: offset, attributes }
}

function applyObjects(state: ItemState, put: ObjectsPut): ItemState {
  const offset = put.version.offset
  if (offset <= state.objectsOffset) return state
  const objects = offset > state.removalOffset ? objectsContent(put) : null
  return { ...state, objectsOffset: offset, objects }
}

function applyRemoval(state: ItemState, removed: ItemRemoved): ItemState {
  const offset = removed.version.offset
  if (offset <= state.removalOffset) return state
  return {
    ...state,
    removalOffset: offset,
    removedAtMs: removed.acceptedAtMs,
    attributes: state.attributesOffset > offset ? state.attributes : null,
    objects: state.objectsOffset > offset ? state.objects : null,
    failure: state.failureOffset > offset ? state.failure : null,
  }
}

function applyFailure(state: ItemState, failed: WorkFailed): ItemState {
  const offset = failed.version.offset
  if (offset < state.failureOffset) return state
  const { code, message, retryable, attempts } = failed
  const content = { code, message, retryable, attempts }
  if (offset === state.failureOffset && !isLaterReport(content, state.failure)) return state
  return { ...state, failureOffset: offset, failure: offset > state.removalOffset ? content : null }
}

/** One version may report twice: still being retried, then given up. Given up wins, then more attempts. */
function isLaterReport(report: FailureContent, held: FailureContent | null): boolean {
  if (held === null) return false
  if (report.retryable !== held.retryable) return held.retryable
  return report.attempts > held.attempts
}

function attributesContent(put: AttributesPut): AttributesContent {
  const { title, category, price, currency, regions, available, attributes, images, imageVersion, acceptedAtMs } = put
  return { title, category, price, currency, regions, available, attributes, images, imageVersion, acceptedAtMs }
}

function objectsContent(put: ObjectsPut): ObjectsContent {
  const objects = put.objects.map(({ box, label, score, image }) => ({ box, label, score, image }))
  return { imageIdentity: put.imageIdentity, imageDigests: put.imageDigests, objects }
}
