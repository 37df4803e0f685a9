import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { subjects } from '../../schemas/topics.ts'
import { schemaRegistryContract } from '../contracts/schema-registry-contract.ts'
import type { KeyValueStore } from '../key-value-store.ts'
import { openKeyValueStore } from './embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from './embedded-schema-registry.ts'
import { EmbeddedEnvironment } from './environment.ts'

schemaRegistryContract('EmbeddedSchemaRegistry', async () => {
  const own = await mkdtemp(join(tmpdir(), 'freshet-registry-'))
  const opened = await EmbeddedEnvironment.open({ directory: own, clock: Date.now })
  const registry = new EmbeddedSchemaRegistry(openKeyValueStore(opened, 'schemas'))
  return {
    registry,
    cleanup: async () => {
      await registry.close()
      await opened.close()
      await rm(own, { recursive: true })
    },
  }
})

let directory: string
let environment: EmbeddedEnvironment
let store: KeyValueStore

async function openStore(): Promise<void> {
  environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  store = openKeyValueStore(environment, 'schemas')
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-registry-'))
  await openStore()
})

afterEach(async () => {
  await environment.close()
  await rm(directory, { recursive: true })
})

test('a reopened registry holds what it held and goes on counting, in order past the tenth version', async () => {
  const before = new EmbeddedSchemaRegistry(store)
  for (let n = 1; n <= 11; n++) await before.register(subjects.catalog, record(nth(n)))
  const registered = await before.versions(subjects.catalog)
  await before.close()
  await environment.close()
  await openStore()
  const after = new EmbeddedSchemaRegistry(store)
  expect(await after.versions(subjects.catalog)).toEqual(registered)
  expect(await after.register(subjects.catalog, record(nth(12)))).toMatchObject({ id: 12, version: 12 })
  const versions = await after.versions(subjects.catalog)
  expect(versions.map(({ version }) => version)).toEqual(Array.from({ length: 12 }, (_, n) => n + 1))
})

test('one schema in two subjects has one id', async () => {
  const registry = new EmbeddedSchemaRegistry(store)
  const inCatalog = await registry.register(subjects.catalog, record(nth(1)))
  const inControl = await registry.register(subjects.control, record(nth(1)))
  expect(inControl).toMatchObject({ id: inCatalog.id, subject: subjects.control, version: 1 })
  expect(await registry.byId(inCatalog.id)).toEqual(inCatalog)
})

test('a failed write registers nothing and leaves the registry usable', async () => {
  const failures = [new FreshetError('storage-full', 'the disk is full')]
  const fullOnce: KeyValueStore = {
    get: key => store.get(key),
    entries: prefix => store.entries(prefix),
    clear: () => store.clear(),
    close: () => store.close(),
    write: async writes => {
      const failure = failures.pop()
      if (failure) throw failure
      await store.write(writes)
    },
  }
  const registry = new EmbeddedSchemaRegistry(fullOnce)
  await expect(registry.register(subjects.catalog, record(nth(1)))).rejects.toMatchObject({ code: 'storage-full' })
  expect(await registry.versions(subjects.catalog)).toEqual([])
  expect(await registry.register(subjects.catalog, record(nth(1)))).toMatchObject({ id: 1, version: 1 })
})

const record = (...fields: object[]): string => JSON.stringify({ type: 'record', name: 'freshet.Thing', fields })
const nth = (n: number) => ({ name: `field${n}`, type: 'int', default: n })
