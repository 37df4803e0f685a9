import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { FeatureStore } from '../feature-store.ts'

export interface FeatureStoreFixture {
  open(): Promise<FeatureStore>
  /** Lets so much time pass for the store. */
  elapse(ms: number): Promise<void>
  dispose(): Promise<void>
}

const ttlMs = 60_000

/** What every FeatureStore must do. */
export function featureStoreContract(name: string, createFixture: () => Promise<FeatureStoreFixture>): void {
  describe(`${name}: the feature store contract`, () => {
    let fixture: FeatureStoreFixture
    let store: FeatureStore

    beforeEach(async () => {
      fixture = await createFixture()
      store = await fixture.open()
    })

    afterEach(async () => {
      await store.close()
      await fixture.dispose()
    })

    test('values are read in the order of the keys, undefined where there is none', async () => {
      await store.raise(
        [
          { key: 'hint:g1:sofa', value: 7 },
          { key: 'hint:g1:椅子🪑', value: 0 },
        ],
        ttlMs,
      )
      expect(await store.read(['hint:g1:椅子🪑', 'hint:g1:absent', 'hint:g1:sofa'])).toEqual([0, undefined, 7])
      expect(await store.read([])).toEqual([])
    })

    test('the larger value stays', async () => {
      await store.raise([{ key: 'a', value: 5 }], ttlMs)
      await store.raise([{ key: 'a', value: 3 }], ttlMs)
      expect(await store.read(['a'])).toEqual([5])
      await store.raise([{ key: 'a', value: 9 }], ttlMs)
      expect(await store.read(['a'])).toEqual([9])
    })

    test('the largest of raises at once stays, in whatever order they are made', async () => {
      const values = [4, 19, 2, 11, 19, 7]
      await Promise.all(values.map(value => store.raise([{ key: 'a', value }], ttlMs)))
      await store.raise(
        [7, 3, 5].map(value => ({ key: 'b', value })),
        ttlMs,
      )
      expect(await store.read(['a', 'b'])).toEqual([19, 7])
    })

    test('offsets up to the largest safe integer are kept exactly', async () => {
      await store.raise([{ key: 'a', value: Number.MAX_SAFE_INTEGER }], ttlMs)
      expect(await store.read(['a'])).toEqual([Number.MAX_SAFE_INTEGER])
    })

    test('a value is forgotten when it was not raised for its time', async () => {
      await store.raise([{ key: 'old', value: 9 }], 1000)
      await store.raise([{ key: 'kept', value: 1 }], 1000)
      await store.raise([{ key: 'kept', value: 1 }], ttlMs)
      await fixture.elapse(1500)
      expect(await store.read(['old', 'kept'])).toEqual([undefined, 1])
      await store.raise([{ key: 'old', value: 2 }], ttlMs)
      expect(await store.read(['old'])).toEqual([2])
    })

    test('the parts of a key are summed number by number, in the order of the keys', async () => {
      await store.putParts(
        [
          { key: 'rates:sofa', part: '0', values: [1, 0.25] },
          { key: 'rates:sofa', part: '7', values: [2, 0.5] },
          { key: 'rates:椅子🪑', part: '0', values: [-4] },
        ],
        ttlMs,
      )
      expect(await store.readSums(['rates:椅子🪑', 'rates:absent', 'rates:sofa'])).toEqual([[-4], undefined, [3, 0.75]])
      expect(await store.readSums([])).toEqual([])
      await store.putParts([], ttlMs)
    })

    test('a part that is written again replaces what it was, so that a repetition changes nothing', async () => {
      const parts = [
        { key: 'a', part: '0', values: [1, 2] },
        { key: 'a', part: '1', values: [10, 20] },
      ]
      await store.putParts(parts, ttlMs)
      await store.putParts(parts, ttlMs)
      expect(await store.readSums(['a'])).toEqual([[11, 22]])
      await store.putParts([{ key: 'a', part: '0', values: [3, 0] }], ttlMs)
      expect(await store.readSums(['a'])).toEqual([[13, 20]])
    })

    test('parts written at once by several writers are all there', async () => {
      const writers = Array.from({ length: 20 }, (_, n) => n)
      await Promise.all(writers.map(n => store.putParts([{ key: 'a', part: `p${n}`, values: [n] }], ttlMs)))
      expect(await store.readSums(['a'])).toEqual([[190]])
    })

    test('numbers of parts are kept to the last bit, however large or small', async () => {
      const values = [0.1, 1 / 3, 1e300, 5e-324, -Number.MAX_VALUE, 2 ** 53 + 2]
      await store.putParts([{ key: 'a', part: '0', values }], ttlMs)
      expect(await store.readSums(['a'])).toEqual([values])
    })

    test('a key is forgotten with all its parts when none was written for its time', async () => {
      await store.putParts([{ key: 'old', part: '0', values: [9] }], 1000)
      await store.putParts([{ key: 'kept', part: '0', values: [1] }], 1000)
      await store.putParts([{ key: 'kept', part: '1', values: [2] }], ttlMs)
      await fixture.elapse(1500)
      expect(await store.readSums(['old', 'kept'])).toEqual([undefined, [3]])
      await store.putParts([{ key: 'old', part: '1', values: [2] }], ttlMs)
      expect(await store.readSums(['old'])).toEqual([[2]])
    })
  })
}
