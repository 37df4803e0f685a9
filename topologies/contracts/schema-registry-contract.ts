import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openCodecs, registerSchemas, writtenSchemas } from '../../schemas/avro/codec.ts'
import { catalogTopic, subjects } from '../../schemas/topics.ts'
import type { SchemaRegistry } from '../schema-registry.ts'

/** What every `SchemaRegistry` does. `makeRegistry` gives one in which nothing is registered. */
export function schemaRegistryContract(
  name: string,
  makeRegistry: () => Promise<{ readonly registry: SchemaRegistry; readonly cleanup: () => Promise<void> }>,
): void {
  describe(`${name} as a schema registry`, () => {
    let registry: SchemaRegistry
    let cleanup: () => Promise<void>

    beforeEach(async () => {
      ;({ registry, cleanup } = await makeRegistry())
    })
    afterEach(() => cleanup())

    test('gives back what was registered, by id and by subject', async () => {
      const registered = await registry.register(catalog, first)
      expect(registered).toMatchObject({ subject: catalog, version: 1 })
      expect(fieldsOf(registered.schema)).toEqual(fieldsOf(first))
      expect(await registry.byId(registered.id)).toMatchObject({ id: registered.id, schema: registered.schema })
      expect(await registry.versions(catalog)).toEqual([registered])
    })

    test('gives the same schema the same id and version, however it is laid out', async () => {
      const registered = await registry.register(catalog, first)
      expect(await registry.register(catalog, JSON.stringify(JSON.parse(first), null, 4))).toEqual(registered)
      expect(await registry.versions(catalog)).toHaveLength(1)
    })

    test('numbers the versions of a subject in order of registration', async () => {
      const all = [first, withColour, withColourAndSize]
      for (const schema of all) await registry.register(catalog, schema)
      const versions = await registry.versions(catalog)
      expect(versions.map(({ version }) => version)).toEqual([1, 2, 3])
      expect(versions.map(({ schema }) => fieldsOf(schema))).toEqual(all.map(fieldsOf))
      expect(new Set(versions.map(({ id }) => id)).size).toBe(3)
    })

    test('finds an earlier version again by its schema', async () => {
      const registered = await registry.register(catalog, first)
      await registry.register(catalog, withColour)
      expect(await registry.register(catalog, first)).toEqual(registered)
    })

    test('keeps subjects apart, and each schema readable by its id', async () => {
      const inCatalog = await registry.register(catalog, first)
      const inControl = await registry.register(subjects.control, unrelated)
      expect(await registry.versions(subjects.control)).toEqual([inControl])
      expect(inControl.id).not.toBe(inCatalog.id)
      expect(fieldsOf((await registry.byId(inControl.id)).schema)).toEqual(fieldsOf(unrelated))
    })

    test('refuses a schema that old records do not fit, with the reasons, and registers nothing', async () => {
      await registry.register(catalog, first)
      await expect(registry.register(catalog, unrelated)).rejects.toMatchObject({
        code: 'schema-incompatible',
        details: expect.arrayContaining([expect.any(String)]),
      })
      expect(await registry.versions(catalog)).toHaveLength(1)
    })

    test('refuses a schema that only older readers cannot read', async () => {
      await registry.register(catalog, withColour)
      await expect(registry.register(catalog, withoutName)).rejects.toMatchObject({ code: 'schema-incompatible' })
    })

    test('holds a schema against all versions, not the last alone', async () => {
      await registry.register(catalog, withColour)
      await registry.register(catalog, first)
      await expect(registry.register(catalog, withNumberedColour)).rejects.toMatchObject({
        code: 'schema-incompatible',
      })
    })

    test('checks without registering', async () => {
      expect(await registry.check(catalog, first)).toEqual([])
      expect(await registry.versions(catalog)).toEqual([])
      await registry.register(catalog, first)
      expect(await registry.check(catalog, withColour)).toEqual([])
      expect((await registry.check(catalog, unrelated)).length).toBeGreaterThan(0)
      expect(await registry.versions(catalog)).toHaveLength(1)
    })

    test.each(['', '{"type":', '{"type":"record"}', '"freshet.Missing"'])(
      'refuses %j, which is no schema',
      async text => {
        expect((await registry.check(catalog, text)).length).toBeGreaterThan(0)
        await expect(registry.register(catalog, text)).rejects.toMatchObject({ code: 'schema-incompatible' })
      },
    )

    test('knows no other ids and no other subjects', async () => {
      const { id } = await registry.register(catalog, first)
      await expect(registry.byId(id + 1000)).rejects.toMatchObject({ code: 'schema-unknown' })
      expect(await registry.versions(subjects.mutations)).toEqual([])
    })

    test('gives one id when the same schema is registered many times at once', async () => {
      const registered = await Promise.all(Array.from({ length: 8 }, () => registry.register(catalog, first)))
      expect(new Set(registered.map(({ id }) => id)).size).toBe(1)
      expect(await registry.versions(catalog)).toHaveLength(1)
    })

    test('lets only one of two schemas in that exclude each other, registered at once', async () => {
      await registry.register(catalog, first)
      const both = [withColour, withNumberedColour].map(schema => registry.register(catalog, schema))
      const outcomes = (await Promise.allSettled(both)).map(({ status }) => status)
      expect(outcomes.toSorted()).toEqual(['fulfilled', 'rejected'])
      expect(await registry.versions(catalog)).toHaveLength(2)
    })

    test('serves the codecs of this program, registered twice', async () => {
      await registerSchemas(registry)
      await registerSchemas(registry)
      for (const { subject } of writtenSchemas) expect(await registry.versions(subject)).toHaveLength(1)
      const { control } = await openCodecs(registry)
      const record = {
        type: 'GenerationRetired',
        decidedAfter: 4,
        by: catalogTopic,
        atMs: 1,
        reason: '',
        generation: 'v1',
        override: '',
      }
      expect(control.decode(control.encode(record as never))).toEqual(record)
    })
  })
}

const catalog = subjects.catalog
const record = (...fields: object[]): string => JSON.stringify({ type: 'record', name: 'freshet.Thing', fields })
const name = { name: 'name', type: 'string' }
const colour = { name: 'colour', type: 'string', default: '' }

const first = record(name)
const withColour = record(name, colour)
const withColourAndSize = record(name, colour, { name: 'size', type: ['null', 'double'], default: null })
const withNumberedColour = record(name, { name: 'colour', type: 'long', default: 0 })
const withoutName = record(colour)
const unrelated = record({ name: 'weight', type: 'double' })

function fieldsOf(schema: string): readonly string[] {
  return JSON.parse(schema).fields.map((field: { name: string }) => field.name)
}
