import { expect, test } from 'vitest'
import { subjects } from '../../schemas/topics.ts'
import { schemaRegistryContract } from '../contracts/schema-registry-contract.ts'
import type { KeyValueStore, KeyValueWrite } from '../key-value-store.ts'
import { EmbeddedSchemaRegistry } from './embedded-schema-registry.ts'

class MemoryStore implements KeyValueStore {
  readonly #entries = new Map<string, Uint8Array>()

  get(key: string): Uint8Array | undefined {
    return this.#entries.get(key)
  }

  async write(writes: readonly KeyValueWrite[]): Promise<void> {
    for (const { key, value } of writes) {
      if (value === null) this.#entries.delete(key)
      else this.#entries.set(key, value)
    }
  }

  entries(prefix: string): readonly { readonly key: string; readonly value: Uint8Array }[] {
    return [...this.#entries]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => ({ key, value }))
      .toSorted((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)))
  }

  async close(): Promise<void> {}
}

schemaRegistryContract('EmbeddedSchemaRegistry', async () => {
  const registry = new EmbeddedSchemaRegistry(new MemoryStore())
  return { registry, cleanup: () => registry.close() }
})

const record = (...fields: object[]): string => JSON.stringify({ type: 'record', name: 'freshet.Thing', fields })
const nth = (n: number) => ({ name: `field${n}`, type: 'int', default: n })

test('versions stay in order past the tenth, and a reopened registry goes on counting', async () => {
  const store = new MemoryStore()
  const before = new EmbeddedSchemaRegistry(store)
  for (let n = 1; n <= 11; n++) await before.register(subjects.catalog, record(nth(n)))
  await before.close()
  const after = new EmbeddedSchemaRegistry(store)
  const twelfth = await after.register(subjects.catalog, record(nth(12)))
  expect(twelfth).toMatchObject({ id: 12, version: 12 })
  const versions = await after.versions(subjects.catalog)
  expect(versions.map(({ version }) => version)).toEqual(Array.from({ length: 12 }, (_, n) => n + 1))
})

test('one schema in two subjects has one id', async () => {
  const registry = new EmbeddedSchemaRegistry(new MemoryStore())
  const inCatalog = await registry.register(subjects.catalog, record(nth(1)))
  const inControl = await registry.register(subjects.control, record(nth(1)))
  expect(inControl).toMatchObject({ id: inCatalog.id, subject: subjects.control, version: 1 })
  expect(await registry.byId(inCatalog.id)).toEqual(inCatalog)
})

test('a failed write leaves the registry usable', async () => {
  class FailingOnce extends MemoryStore {
    #failed = false
    override async write(writes: readonly KeyValueWrite[]): Promise<void> {
      if (this.#failed) return super.write(writes)
      this.#failed = true
      throw new Error('the disk is full')
    }
  }
  const registry = new EmbeddedSchemaRegistry(new FailingOnce())
  await expect(registry.register(subjects.catalog, record(nth(1)))).rejects.toThrow('the disk is full')
  expect(await registry.register(subjects.catalog, record(nth(1)))).toMatchObject({ id: 1, version: 1 })
})
