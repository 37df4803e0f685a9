import type { ItemAttributes } from '../../schemas/catalog-event.ts'
import type { ErrorCode } from '../../schemas/errors.ts'
import type { AttributesPut, Box, ObjectsPut, RegisterMutation, WorkFailed } from '../../schemas/mutation.ts'

/** Content of the attributes register. */
export interface AttributesContent extends ItemAttributes {
  readonly images: readonly string[]
  readonly imageVersion: string
  /** Broker's append time of the event, ms since 1970. */
  readonly acceptedAtMs: number
}

/** Content of the objects register without the vectors, which the index holds. */
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

export type FailureReport = Pick<FailureContent, 'retryable' | 'attempts'>

/**
 * The four last-writer-wins registers of one item (DESIGN section 3) without their contents. An offset is -1 when the
 * register was never written. A content counts when its offset is above that of the removal: one that does not can
 * never count again, because removals only grow. Immutable: a write that changes nothing gives the same object back.
 */
export interface Registers {
  readonly attributesOffset: number
  readonly objectsOffset: number
  readonly removalOffset: number
  readonly failureOffset: number
  /** Broker's append time of the newest removal; 0 when there is none. */
  readonly removedAtMs: number
  /** Of the failure that counts; null when none does. */
  readonly failureReport: FailureReport | null
}

export const unwritten: Registers = {
  attributesOffset: -1,
  objectsOffset: -1,
  removalOffset: -1,
  failureOffset: -1,
  removedAtMs: 0,
  failureReport: null,
}

/**
 * Folds one mutation into the item's registers: the maximum by version per register, so that any order and any
 * duplicates of the same mutations end in the same state. The epoch is not looked at: one index holds one epoch.
 */
export function fold(registers: Registers, mutation: RegisterMutation): Registers {
  const { offset } = mutation.version
  switch (mutation.type) {
    case 'AttributesPut':
      return offset <= registers.attributesOffset ? registers : { ...registers, attributesOffset: offset }
    case 'ObjectsPut':
      return offset <= registers.objectsOffset ? registers : { ...registers, objectsOffset: offset }
    case 'ItemRemoved':
      if (offset <= registers.removalOffset) return registers
      return {
        ...registers,
        removalOffset: offset,
        removedAtMs: mutation.acceptedAtMs,
        failureReport: registers.failureOffset > offset ? registers.failureReport : null,
      }
    case 'WorkFailed':
      return foldFailure(registers, offset, mutation)
  }
}

function foldFailure(registers: Registers, offset: number, report: FailureReport): Registers {
  if (offset < registers.failureOffset) return registers
  if (offset === registers.failureOffset && !isLaterReport(report, registers.failureReport)) return registers
  const { retryable, attempts } = report
  const failureReport = offset > registers.removalOffset ? { retryable, attempts } : null
  return { ...registers, failureOffset: offset, failureReport }
}

/** One version may report twice: still being retried, then given up. Given up wins, then more attempts. */
function isLaterReport(report: FailureReport, held: FailureReport | null): boolean {
  if (held === null) return false
  if (report.retryable !== held.retryable) return held.retryable
  return report.attempts > held.attempts
}

export type Offsets = Pick<Registers, 'attributesOffset' | 'objectsOffset' | 'removalOffset' | 'failureOffset'>

export function hasAttributes(offsets: Offsets): boolean {
  return offsets.attributesOffset > offsets.removalOffset
}

export function hasObjects(offsets: Offsets): boolean {
  return offsets.objectsOffset > offsets.removalOffset
}

export function hasFailure(offsets: Offsets): boolean {
  return offsets.failureOffset > offsets.removalOffset
}

export function isSearchable(offsets: Offsets): boolean {
  return hasAttributes(offsets) && hasObjects(offsets)
}

/** Newer image work failed while older objects are shown; at equal versions the objects win. */
export function isStale(offsets: Offsets): boolean {
  return isSearchable(offsets) && offsets.failureOffset > offsets.objectsOffset
}

/** What the operator counts an item as; `unknown` while no event has said anything of the item itself. */
export type ItemStanding = 'searchable' | 'pending' | 'failed' | 'deleted' | 'unknown'

export function standingOf(offsets: Offsets): ItemStanding {
  if (!hasAttributes(offsets)) return offsets.removalOffset >= 0 ? 'deleted' : 'unknown'
  if (hasObjects(offsets)) return 'searchable'
  return hasFailure(offsets) ? 'failed' : 'pending'
}

export function attributesContent(put: AttributesPut): AttributesContent {
  const { title, category, price, currency, regions, available, attributes, images, imageVersion, acceptedAtMs } = put
  return { title, category, price, currency, regions, available, attributes, images, imageVersion, acceptedAtMs }
}

export function objectsContent(put: ObjectsPut): ObjectsContent {
  const objects = put.objects.map(({ box, label, score, image }) => ({ box, label, score, image }))
  return { imageIdentity: put.imageIdentity, imageDigests: put.imageDigests, objects }
}

export function failureContent(failed: WorkFailed): FailureContent {
  const { code, message, retryable, attempts } = failed
  return { code, message, retryable, attempts }
}
