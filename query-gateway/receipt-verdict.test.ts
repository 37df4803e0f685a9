import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EventStatus } from '../schemas/http-items.ts'
import { asOffset } from '../schemas/ids.ts'
import type { ItemRegisters } from '../schemas/shard-api.ts'
import { combine, isFinal, verdictOf } from './receipt-verdict.ts'
import { nothing } from './testing/table-replica.ts'

const v = 10
const detail = { code: 'image-corrupt', message: 'damaged', retryable: false } as const

interface Row {
  readonly a?: number
  readonly o?: number
  readonly x?: number
  readonly f?: number
  readonly w?: number
  readonly searchable?: boolean
}

/** Registers as a shard node would have them: live when a > x, searchable when live with objects above x. */
function registers({ a = -1, o = -1, x = -1, f = -1, w = -1, searchable = a > x && o > x }: Row): ItemRegisters {
  return {
    ...nothing,
    attributes: asOffset(a),
    objects: asOffset(o),
    removal: asOffset(x),
    failure: asOffset(f),
    watermark: asOffset(w),
    failureDetail: f > -1 ? detail : null,
    searchable,
    times: { attributesMs: 100, objectsMs: 200, removalMs: 300, failureMs: 400 },
  }
}

const table: readonly (readonly [why: string, row: Row, status: EventStatus, atMs: number | null])[] = [
  ['nothing heard of it', {}, 'accepted', null],
  ['only older events applied', { a: 8, o: 8, w: 9 }, 'accepted', null],
  ['attributes applied, image pending', { a: 10, w: 9 }, 'accepted', null],
  ['attributes applied, old picture still shown', { a: 10, o: 8, w: 9 }, 'accepted', null],
  ['attributes and objects applied', { a: 10, o: 10, w: 3 }, 'searchable', 200],
  ['unchanged image, watermark passed', { a: 10, o: 8, w: 10 }, 'searchable', 100],
  ['re-created after an older delete', { a: 10, o: 10, x: 5, w: 10 }, 'searchable', 200],
  ['vectors here, item not counted yet', { a: 10, o: 10, searchable: false }, 'embedded', 200],
  ['the delete itself', { a: 8, o: 8, x: 10, w: 9 }, 'removed', 300],
  ['the delete of an unknown item', { x: 10, w: 10 }, 'removed', 300],
  ['deleted afterwards', { a: 10, o: 10, x: 12, w: 12 }, 'removed', null],
  ['deleted and created again since', { a: 14, o: 10, x: 12, w: 12 }, 'superseded', null],
  ['newer upsert, picture of this one still pending', { a: 12, o: 8, w: 9 }, 'accepted', null],
  ['newer upsert, picture of this one there', { a: 12, o: 10, w: 9 }, 'superseded', null],
  ['newer upsert with its picture', { a: 12, o: 12, w: 9 }, 'superseded', null],
  ['newer upsert, watermark passed', { a: 12, o: 8, w: 10 }, 'superseded', null],
  ['newer upsert whose picture failed', { a: 12, o: 8, f: 12, w: 9 }, 'superseded', null],
  ['its picture failed, nothing older', { a: 10, f: 10, w: 10 }, 'failed', 400],
  ['its picture failed, old one shown', { a: 10, o: 8, f: 10, w: 9 }, 'failed', 400],
  ['its picture failed, price changed since', { a: 12, o: 8, f: 10, w: 12 }, 'failed', 400],
  ['its picture failed, then succeeded', { a: 10, o: 10, f: 10, w: 10 }, 'searchable', 200],
  ['its picture failed, a newer one is there', { a: 12, o: 12, f: 10, w: 12 }, 'superseded', null],
  ['unchanged from a picture that failed', { a: 10, f: 8, w: 10 }, 'failed', null],
  ['unchanged from a picture that failed, an older one shown', { a: 10, o: 6, f: 8, w: 10 }, 'failed', null],
  ['an old failure that was overcome', { a: 10, o: 8, f: 8, w: 10 }, 'searchable', 100],
  ['passed by without a trace', { a: 8, o: 8, w: 10 }, 'failed', null],
  ['a delete so old that it is forgotten', { w: 10 }, 'removed', null],
]

describe('the event at offset 10', () => {
  test.each(table)('%s', (_why, row, status, atMs) => {
    expect(verdictOf(registers(row), asOffset(v))).toMatchObject({ status, atMs })
  })
})

test('a failure tells its code', () => {
  expect(verdictOf(registers({ a: 10, f: 10 }), asOffset(v)).failure).toEqual(detail)
  expect(verdictOf(registers({ a: 8, o: 8, w: 10 }), asOffset(v)).failure).toMatchObject({ code: 'record-undecodable' })
})

test('once the watermark has passed an event, its status is final', () => {
  const offset = fc.integer({ min: -1, max: 20 })
  // Objects and failures come from upserts, so neither is above the newest attributes; live without picture or failure is no state.
  const reachable = fc
    .record({ a: offset, o: offset, x: offset, f: offset })
    .filter(({ a, o, x, f }) => o <= a && f <= a && a !== x && (a <= x || Math.max(o, f) > x))
  fc.assert(
    fc.property(reachable, fc.integer({ min: v, max: 20 }), (row, w) => {
      expect(isFinal(verdictOf(registers({ ...row, w }), asOffset(v)).status)).toBe(true)
    }),
  )
})

test.each<readonly [readonly EventStatus[], EventStatus]>([
  [[], 'accepted'],
  [['searchable', 'searchable'], 'searchable'],
  [['searchable', 'accepted'], 'embedded'],
  [['embedded', 'accepted'], 'embedded'],
  [['accepted', 'accepted'], 'accepted'],
  [['removed', 'accepted'], 'accepted'],
  [['failed', 'accepted'], 'failed'],
  [['searchable', 'failed'], 'failed'],
  [['searchable', 'removed'], 'removed'],
  [['searchable', 'superseded'], 'superseded'],
  [['superseded', 'removed'], 'removed'],
])('replicas %j together are %s', (statuses, together) => {
  expect(combine(statuses)).toBe(together)
})
