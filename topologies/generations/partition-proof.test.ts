import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asOffset, type ItemId, parseItemId } from '../../schemas/ids.ts'
import { type PartitionProof, provePartition } from './partition-proof.ts'
import {
  type CatalogueEvent,
  epoch,
  ModelLog,
  ModelSide,
  partition,
  type Registers,
  type Turn,
} from './testing/model-side.ts'

const ids = Array.from({ length: 8 }, (_, i) => parseItemId(`item-${i}`))
const turns = fc.array(
  fc.record({
    does: fc.constantFrom<Turn['does']>('read', 'read', 'finish', 'finish', 'supersede', 'fail'),
    which: fc.nat(50),
  }),
  { minLength: 1, maxLength: 60 },
)
const history = fc
  .array(fc.tuple(fc.constantFrom(...ids), fc.constantFrom('red', 'blue', 'green', null)), {
    minLength: 1,
    maxLength: 60,
  })
  .map(events => events.map(([itemId, image], offset): CatalogueEvent => ({ itemId, image, offset })))

const world = fc.record({
  events: history,
  reference: turns,
  candidate: turns,
  /** Turns before the proof begins. */
  head: fc.nat(80),
  writes: fc.array(fc.nat(4), { minLength: 1, maxLength: 20 }),
  compacts: fc.array(fc.nat(60), { minLength: 1, maxLength: 20 }),
})
type World = typeof world extends fc.Arbitrary<infer W> ? W : never

const turnsBetween = 3
/** After so many turns everything is written and finished, so that each proof ends. */
const mostTurns = 200

/** The log grows and is compacted between the calls of the proof; each side follows it in its own order. */
async function proven(
  { events, reference, candidate, head, writes, compacts }: World,
  options: { readonly failing?: boolean; readonly tamper?: (side: ModelSide) => void } = {},
): Promise<PartitionProof> {
  const log = new ModelLog(events)
  const sides = { reference: new ModelSide(log), candidate: new ModelSide(log) }
  let turn = 0
  const goOn = (times: number): void => {
    for (let i = 0; i < times; i++, turn++) {
      log.write(writes[turn % writes.length]!)
      log.compact(compacts[turn % compacts.length]!)
      sides.reference.take(reference[turn % reference.length]!, false)
      sides.candidate.take(candidate[turn % candidate.length]!, options.failing ?? false)
    }
    if (turn < mostTurns) return
    log.write(events.length)
    sides.reference.finish()
    sides.candidate.finish()
  }
  goOn(head)
  if (options.tamper !== undefined) {
    log.write(events.length)
    sides.candidate.finish()
    options.tamper(sides.candidate)
  }
  const progress = async () => {
    goOn(turnsBetween)
    const reached = Math.min(sides.reference.watermark, sides.candidate.watermark)
    return { reached: asOffset(reached), end: asOffset(log.end) }
  }
  return provePartition(sides, { partition, epoch, progress, maxCuts: 60 })
}

test('two correct generations are proven equal, whatever is superseded, compacted, out of order or on its way', async () => {
  await fc.assert(
    fc.asyncProperty(world, async given => {
      const proof = await proven(given)
      expect(proof).toMatchObject({ mismatches: [], unproven: [], isTruncated: false })
    }),
    { numRuns: 400 },
  )
})

test('pictures that failed on one side are told, and are no mismatch', async () => {
  await fc.assert(
    fc.asyncProperty(world, async given => {
      const { mismatches, unproven, failed } = await proven(given, { failing: true })
      expect({ mismatches, unproven, reference: failed.reference }).toEqual({
        mismatches: [],
        unproven: [],
        reference: [],
      })
    }),
    { numRuns: 400 },
  )
})

const takesTurns = [
  { does: 'read', which: 0 },
  { does: 'finish', which: 0 },
] as const satisfies Turn[]
/** Seven items, and one that was deleted. */
const settled: World = {
  events: [
    ...ids.map((itemId, offset): CatalogueEvent => ({ itemId, image: 'red', offset })),
    { itemId: ids[7]!, image: null, offset: 8 },
  ],
  reference: [...takesTurns],
  candidate: [...takesTurns],
  head: 0,
  writes: [2],
  compacts: [0],
}

test.each<[string, ItemId, Partial<Registers> | null]>([
  ['missing', ids[2]!, null],
  ['version', ids[3]!, { attributes: 1 }],
  ['objects', ids[4]!, { identity: 'blue' }],
  ['unexpected', ids[7]!, { removal: -1 }],
])('one item that is %s on the candidate is named', async (kind, itemId, tampered) => {
  const tamper = ({ items }: ModelSide): void => {
    if (tampered === null) items.delete(itemId)
    else Object.assign(items.get(itemId)!, tampered)
  }
  const { mismatches, unproven } = await proven(settled, { tamper })
  expect(mismatches.map(mismatch => [mismatch.itemId, mismatch.kind])).toEqual([[itemId, kind]])
  expect(unproven).toEqual([])
})

test('a register that is not as it should be is found while other items go on changing', async () => {
  const tampering = fc.record({
    item: fc.nat(7),
    tampered: fc.constantFrom<Partial<Registers>>({ attributes: 0 }, { identity: 'another' }, { removal: 1_000 }),
  })
  await fc.assert(
    fc.asyncProperty(world, tampering, async (given, { item, tampered }) => {
      const itemId = ids[item]!
      // The item is there, at a version that has no other, and all other items change after it.
      const last = given.events.length + 1
      const events = [
        ...given.events,
        { itemId, image: 'pink', offset: last - 1 },
        { itemId, image: 'red', offset: last },
      ]
      const others = ids.filter(id => id !== itemId)
      const after = others.map((id, i): CatalogueEvent => ({ itemId: id, image: 'blue', offset: last + 1 + i }))
      const tamper = ({ items }: ModelSide): void => void Object.assign(items.get(itemId)!, tampered)
      const { mismatches, unproven } = await proven({ ...given, events: [...events, ...after] }, { tamper })
      expect([...mismatches.map(mismatch => mismatch.itemId), ...unproven]).toEqual([itemId])
    }),
    { numRuns: 200 },
  )
})
