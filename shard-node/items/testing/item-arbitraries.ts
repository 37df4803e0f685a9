import fc from 'fast-check'
import type { ItemAttributes } from '../../../schemas/catalog-event.ts'
import { parseItemId } from '../../../schemas/ids.ts'
import type { RegisterMutation } from '../../../schemas/mutation.ts'
import type { SearchFilter } from '../../../schemas/shard-api.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from '../../testing/shard-on-log.ts'

const vector = Float32Array.of(1, 0)

/** Ids of 1 to 512 bytes in any script. */
export const itemId = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1, max: 512 }).map(bytes => 'x'.repeat(bytes)),
    fc.integer({ min: 1, max: 128 }).map(characters => '😀'.repeat(characters)),
  )
  .filter(isItemId)

export const filter: fc.Arbitrary<SearchFilter> = fc.record(
  {
    category: fc.subarray(['chair', 'lamp']),
    region: fc.subarray(['DE', 'JP']),
    available: fc.boolean(),
    price: fc.record({ min: fc.constantFrom(1, 5), max: fc.constantFrom(5, 8) }, { requiredKeys: [] }),
    attributes: fc.dictionary(fc.constantFrom('colour', 'seats'), fc.subarray(['red', 4, true] as const)),
  },
  { requiredKeys: [] },
)

/** Content is a function of register and version, as it is in the log. */
export const registerWriters: readonly ((id: string, offset: number) => RegisterMutation)[] = [
  (id, offset) => attributesPut(id, offset, attributesOf(offset)),
  (id, offset) => objectsPut(id, offset, offset % 2 === 0 ? [vector] : [vector, vector, vector]),
  itemRemoved,
  (id, offset) => workFailed(id, offset, true),
  (id, offset) => workFailed(id, offset, false),
]

export function mutation(ids: fc.Arbitrary<string>, maxOffset: number): fc.Arbitrary<RegisterMutation> {
  return fc
    .tuple(fc.constantFrom(...registerWriters, ...registerWriters.slice(0, 2)), ids, fc.nat(maxOffset))
    .map(([write, id, offset]) => write(id, offset))
}

/** Passes and does not pass the filters above in every combination. */
function attributesOf(offset: number): Partial<ItemAttributes> {
  return {
    title: `title ${offset} ✓ \ud83d`,
    category: ['chair', 'lamp', 'sofa'][offset % 3]!,
    price: [null, 1, 5, 9][offset % 4]!,
    regions: ['DE', 'FR', 'JP'].filter((_, bit) => ((offset >>> bit) & 1) === 1),
    available: offset % 5 < 3,
    attributes: {
      ...(offset % 7 < 4 && { colour: ['red', 'blue'][offset % 2]! }),
      ...(offset % 11 < 6 && { seats: [4, '4', true][offset % 3]! }),
    },
  }
}

function isItemId(text: string): boolean {
  try {
    parseItemId(text)
    return true
  } catch {
    return false
  }
}
