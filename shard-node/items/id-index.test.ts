import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ItemId, parseItemId } from '../../schemas/ids.ts'
import { seededRandom } from '../testing/seeded-random.ts'
import { extend, uint32Column } from './growable.ts'
import { IdIndex } from './id-index.ts'
import { itemId } from './testing/item-arbitraries.ts'

class Numbered {
  readonly #hashes = uint32Column()
  readonly index = new IdIndex(this.#hashes)

  constructor(limit: number) {
    extend(this.#hashes, limit)
    this.index.extend(limit)
  }

  insert(item: number, id: ItemId): void {
    this.#hashes[item] = this.index.find(id).hash
    this.index.insert(item, id)
  }
}

test('ids of 1 to 512 bytes in any script are found by what they are, and told as they were given', () => {
  fc.assert(
    fc.property(fc.uniqueArray(itemId, { minLength: 1, maxLength: 60 }), ids => {
      const numbered = new Numbered(ids.length)
      ids.forEach((id, item) => {
        numbered.insert(item, parseItemId(id))
      })
      const found = ids.map(id => numbered.index.find(parseItemId(id)).item)
      expect(found).toEqual(ids.map((_, item) => item))
      expect(ids.map((_, item) => numbered.index.idOf(item))).toEqual(ids)
      expect(ids.map((_, item) => numbered.index.bytesOf(item))).toEqual(ids.map(id => Buffer.byteLength(id)))
    }),
  )
})

test('thousands of ids that come and go are found as in a map, and leave no memory behind', () => {
  const limit = 10_000
  const numbered = new Numbered(limit)
  const known = new Map<string, number>()
  const random = seededRandom(7)
  const free = Array.from({ length: limit }, (_, item) => item)
  let memoryBytes = 0
  for (let step = 0; step < 60_000; step++) {
    const id = parseItemId(`item-${Math.floor(random() * 2 * limit)}`)
    const item = known.get(id)
    if (numbered.index.find(id).item !== (item ?? -1)) expect.fail(`${id} is not found as in the map`)
    if (item === undefined && free.length > limit / 4) {
      const number = free.pop()!
      numbered.insert(number, id)
      known.set(id, number)
    } else if (item !== undefined) {
      numbered.index.delete(item)
      known.delete(id)
      free.push(item)
    }
    if (step === 30_000) memoryBytes = numbered.index.memoryBytes
  }
  for (const [id, item] of known) expect(numbered.index.idOf(item)).toBe(id)
  expect(numbered.index.memoryBytes).toBeLessThan(memoryBytes * 1.2)
})
