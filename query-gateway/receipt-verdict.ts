import type { ErrorCode } from '../schemas/errors.ts'
import type { EventStatus } from '../schemas/http-items.ts'
import type { Offset } from '../schemas/ids.ts'
import type { ItemRegisters } from '../schemas/shard-api.ts'

/** What one replica's registers say about one event. */
export interface Verdict {
  readonly status: EventStatus
  /** When the replica got there; null when not known (any more). */
  readonly atMs: number | null
  readonly failure: { readonly code: ErrorCode; readonly message: string; readonly retryable: boolean } | null
}

/**
 * The event at offset v against the registers a (attributes), o (objects), x (removal), f (failure) and the
 * partition's watermark w. First row that holds:
 *
 * | holds                          | status     | why                                                      |
 * |--------------------------------|------------|----------------------------------------------------------|
 * | x ≥ v, a > x                   | superseded | deleted at or after v, and created again since           |
 * | x ≥ v                          | removed    | v is the delete, or a delete followed it                 |
 * | a < v, w < v                   | accepted   | nothing of it is applied                                 |
 * | a < v, w ≥ v, a > x            | failed     | a live item passed v by: it could not be decoded         |
 * | a < v, w ≥ v                   | removed    | a delete so old that its removal is forgotten            |
 * | f = v, f > o                   | failed     | the image of v failed, and no newer one is there         |
 * | a > v, any of o, f, w ≥ v      | superseded | a newer upsert is applied, and v's image work is over    |
 * | w ≥ v, f > o                   | failed     | v is unchanged from an event whose image failed          |
 * | o ≥ v or w ≥ v, searchable     | searchable |                                                          |
 * | o ≥ v                          | embedded   | vectors are here, the item does not count yet            |
 * | else                           | accepted   | attributes are applied, image work is under way          |
 *
 * The watermark stands in for o ≥ v where the image is unchanged and no new objects are written.
 */
export function verdictOf(registers: ItemRegisters, v: Offset): Verdict {
  const { attributes: a, objects: o, removal: x, failure: f, watermark: w, times } = registers
  if (x >= v) return x < a ? reached('superseded', null) : reached('removed', x === v ? times.removalMs : null)
  if (a < v) {
    if (w < v) return reached('accepted', null)
    return a > x ? undecodable : reached('removed', null)
  }
  const failedSinceObjects = f > o
  if (failedSinceObjects && f === v) return failed(registers, times.failureMs)
  if (a > v && (o >= v || f >= v || w >= v)) return reached('superseded', null)
  if (failedSinceObjects && w >= v) return failed(registers, null)
  if ((o >= v || w >= v) && registers.searchable)
    return reached('searchable', o === v ? latest(times.attributesMs, times.objectsMs) : times.attributesMs)
  return o >= v ? reached('embedded', times.objectsMs) : reached('accepted', null)
}

/** Statuses that do not change by waiting. */
export function isFinal(status: EventStatus): boolean {
  return status !== 'accepted' && status !== 'embedded'
}

/**
 * One status for several replicas: a failure anywhere, else what the slowest still lacks, else the newest knowledge
 * (a replica that has seen the delete knows more than one that still has the item). `accepted` for none.
 */
export function combine(statuses: readonly EventStatus[]): EventStatus {
  if (statuses.includes('failed')) return 'failed'
  if (!statuses.every(isFinal)) {
    const someHaveVectors = statuses.some(status => status === 'embedded' || status === 'searchable')
    return someHaveVectors ? 'embedded' : 'accepted'
  }
  if (statuses.includes('removed')) return 'removed'
  if (statuses.includes('superseded')) return 'superseded'
  return statuses.length === 0 ? 'accepted' : 'searchable'
}

const undecodable: Verdict = {
  status: 'failed',
  atMs: null,
  failure: {
    code: 'record-undecodable',
    message: 'the event was passed by without being applied; see the dead letters',
    retryable: false,
  },
}
const unexplained = { code: 'work-abandoned', message: 'the image work failed', retryable: false } as const

function failed(registers: ItemRegisters, atMs: number | null): Verdict {
  return { status: 'failed', atMs, failure: registers.failureDetail ?? unexplained }
}

function reached(status: EventStatus, atMs: number | null): Verdict {
  return { status, atMs, failure: null }
}

function latest(first: number | null, second: number | null): number | null {
  return first === null || second === null ? null : Math.max(first, second)
}
