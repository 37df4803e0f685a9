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
  })
}
