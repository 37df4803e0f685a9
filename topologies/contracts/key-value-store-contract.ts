import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { KeyValueStore } from '../key-value-store.ts'

export interface KeyValueStoreFixture {
  /** Opens the store of that name; after `close` of the one before, again on the same storage. */
  open(name: string): Promise<KeyValueStore>
  dispose(): Promise<void>
}

/** What every KeyValueStore must do. */
export function keyValueStoreContract(name: string, createFixture: () => Promise<KeyValueStoreFixture>): void {
  describe(`${name}: the key-value store contract`, () => {
    let fixture: KeyValueStoreFixture
    let store: KeyValueStore

    beforeEach(async () => {
      fixture = await createFixture()
      store = await fixture.open('items')
    })

    afterEach(async () => {
      await store.close()
      await fixture.dispose()
    })

    const write = (...keys: readonly string[]) => store.write(keys.map(key => ({ key, value: bytes(`v:${key}`) })))

    test('a written value is read at once, and a removed one no more', async () => {
      await write('a', 'b')
      expect(text(store.get('a'))).toBe('v:a')
      await store.write([
        { key: 'a', value: null },
        { key: 'b', value: bytes('new') },
      ])
      expect(store.get('a')).toBeUndefined()
      expect(text(store.get('b'))).toBe('new')
      expect(store.get('never')).toBeUndefined()
    })

    test('writes of one call take effect in order', async () => {
      await store.write([
        { key: 'a', value: bytes('1') },
        { key: 'a', value: null },
        { key: 'a', value: bytes('2') },
        { key: 'b', value: bytes('3') },
        { key: 'b', value: null },
      ])
      expect(text(store.get('a'))).toBe('2')
      expect(store.get('b')).toBeUndefined()
    })

    test('a cleared store is empty, also when it held much, and the others keep what they hold', async () => {
      const other = await fixture.open('others')
      await other.write([{ key: 'k7', value: bytes('kept') }])
      await write(...Array.from({ length: 1_300 }, (_, n) => `k${n}`), 'ü', '')
      await store.clear()
      expect(store.entries('')).toEqual([])
      expect(store.get('k7')).toBeUndefined()
      await store.clear()
      expect(text(other.get('k7'))).toBe('kept')
      await write('again')
      expect(store.entries('').map(({ key }) => key)).toEqual(['again'])
      await other.close()
    })

    test('a call with a key over the limit writes nothing', async () => {
      const writes = [
        { key: 'small', value: bytes('x') },
        { key: 'k'.repeat(1901), value: bytes('x') },
      ]
      await expect(store.write(writes)).rejects.toMatchObject({ code: 'record-too-large' })
      expect(store.get('small')).toBeUndefined()
    })

    test('keys of 1,900 bytes and empty values fit', async () => {
      const key = 'é'.repeat(950)
      await store.write([{ key, value: bytes('') }])
      expect(store.get(key)).toHaveLength(0)
      expect(store.entries(key)).toHaveLength(1)
    })

    test('a value read before stays as it was', async () => {
      await store.write([{ key: 'a', value: new Uint8Array(5000).fill(1) }])
      const before = store.get('a')!
      const scanned = store.entries('a')[0]!.value
      for (let round = 2; round < 12; round++)
        await store.write([{ key: 'a', value: new Uint8Array(5000).fill(round) }])
      expect(new Set([...before, ...scanned])).toEqual(new Set([1]))
    })

    test('a scan returns the keys of a prefix in order of their bytes', async () => {
      const keys = ['i:b', 'i:', 'i:z', 'i:é', 'i:🪑', 'i:椅', 'i:～', 'i:a', 'i:ab', 'i:B']
      await write('h', 'i', 'j', ...keys)
      const inByteOrder = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      expect(store.entries('i:').map(({ key }) => key)).toEqual(inByteOrder)
      expect(store.entries('i:').map(({ value }) => text(value))).toEqual(inByteOrder.map(key => `v:${key}`))
      expect(store.entries('').map(({ key }) => key)).toEqual(['h', 'i', ...inByteOrder, 'j'])
      expect(store.entries('k')).toEqual([])
    })

    test('a scan goes on after a key, present or not, in pages', async () => {
      await write('i:a', 'i:b', 'i:c', 'i:d', 'j')
      const page = (after: string, limit: number) => store.entries('i:', { after, limit }).map(({ key }) => key)
      expect(store.entries('i:', { limit: 2 }).map(({ key }) => key)).toEqual(['i:a', 'i:b'])
      expect(page('i:b', 2)).toEqual(['i:c', 'i:d'])
      expect(page('i:bb', 2)).toEqual(['i:c', 'i:d'])
      expect(page('i:d', 2)).toEqual([])
      expect(page('i:', 1)).toEqual(['i:a'])
      expect(page('a', 1)).toEqual(['i:a'])
      expect(page('j', 9)).toEqual([])
    })

    test('stores of different names do not see each other', async () => {
      const other = await fixture.open('items-2')
      await write('a')
      await other.write([{ key: 'a', value: bytes('other') }])
      expect(text(store.get('a'))).toBe('v:a')
      expect(other.entries('').map(({ key }) => key)).toEqual(['a'])
      await other.close()
    })

    test('values are there after opening again', async () => {
      await write('a', '椅')
      await store.close()
      store = await fixture.open('items')
      expect(store.entries('').map(({ key, value }) => [key, text(value)])).toEqual([
        ['a', 'v:a'],
        ['椅', 'v:椅'],
      ])
    })
  })
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}

function text(value: Uint8Array | undefined): string | undefined {
  return value && new TextDecoder().decode(value)
}
