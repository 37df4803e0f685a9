import {
  AvroDeserializer,
  AvroSerializer,
  SchemaRegistryClient,
  SerdeType,
  SubjectNameStrategyType,
} from '@confluentinc/schemaregistry'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas, writtenSchemas } from '../../schemas/avro/codec.ts'
import type { ItemUpserted } from '../../schemas/catalog-event.ts'
import type { ItemId } from '../../schemas/ids.ts'
import { catalogTopic, subjects } from '../../schemas/topics.ts'
import { ConfluentSchemaRegistry } from './confluent-schema-registry.ts'
import { emptyRegistry } from './testing/empty-registry.ts'

const url = inject('servers').registryUrl
const client = new SchemaRegistryClient({ baseURLs: [url] })
const byTopic = { subjectNameStrategyType: SubjectNameStrategyType.TOPIC }

let registry: ConfluentSchemaRegistry
let codecs: Codecs

beforeAll(async () => {
  await emptyRegistry(url)
  registry = new ConfluentSchemaRegistry({ urls: [url], timeoutMs: 10_000 })
  await registerSchemas(registry)
  codecs = await openCodecs(registry)
})
afterAll(async () => {
  await registry.close()
  await client.close()
  await emptyRegistry(url)
})

const upsert: ItemUpserted = {
  type: 'ItemUpserted',
  itemId: 'sofa-1' as ItemId,
  images: ['https://shop.example/sofa.jpg'],
  imageVersion: '2',
  refresh: false,
  title: 'Grünes Sofa',
  category: 'sofas',
  price: 799.5,
  currency: 'EUR',
  regions: ['de', 'at'],
  available: true,
  attributes: { colour: 'green', seats: 3, foldable: false },
}
const { type: _, ...fields } = upsert

const catalogSchema = writtenSchemas.find(({ subject }) => subject === subjects.catalog)!.schema

/** The vendor's serializer as a service would use it: it takes the last version of the subject. */
function serializer(): AvroSerializer {
  client.clearLatestCaches()
  return new AvroSerializer(client, SerdeType.VALUE, { ...byTopic, autoRegisterSchemas: false, useLatestVersion: true })
}

test("what the vendor's serializer writes with our schema is an event", async () => {
  const value = await serializer().serialize(catalogTopic, { 'freshet.ItemUpserted': fields })
  expect(codecs.catalog.decode(value)).toEqual(upsert)
})

test("what we write, the vendor's deserializer reads", async () => {
  const deserializer = new AvroDeserializer(client, SerdeType.VALUE, byTopic)
  const value = Buffer.from(codecs.catalog.encode(upsert))
  const [event] = Object.values(await deserializer.deserialize(catalogTopic, value))
  expect(JSON.parse(JSON.stringify(event))).toEqual(fields)
})

test('what a later version of our schema writes is read once its id is learnt', async () => {
  const branches = JSON.parse(catalogSchema) as { name: string; fields: object[] }[]
  const later = branches.map(branch =>
    branch.name === 'ItemUpserted'
      ? { ...branch, fields: [...branch.fields, { name: 'brand', type: 'string', default: '' }] }
      : branch,
  )
  await client.register(subjects.catalog, { schemaType: 'AVRO', schema: JSON.stringify(later) })
  const message = { 'freshet.ItemUpserted': { ...fields, brand: 'Ampersand' } }
  const value = await serializer().serialize(catalogTopic, message)
  expect(() => codecs.catalog.decode(value)).toThrowError(expect.objectContaining({ code: 'schema-unknown' }))
  await codecs.catalog.learn(value)
  expect(codecs.catalog.decode(value)).toEqual(upsert)
})

test('what a producer writes with a record of ours under a subject of its own is an event', async () => {
  const branch = (JSON.parse(catalogSchema) as { name: string }[]).find(({ name }) => name === 'ItemUpserted')
  const schema = JSON.stringify(branch)
  await client.register('freshet.ItemUpserted', { schemaType: 'AVRO', schema })
  const byRecord = { subjectNameStrategy: () => Promise.resolve('freshet.ItemUpserted') }
  const own = new AvroSerializer(client, SerdeType.VALUE, {
    ...byRecord,
    autoRegisterSchemas: false,
    useLatestVersion: true,
  })
  const value = await own.serialize(catalogTopic, fields)
  await codecs.catalog.learn(value)
  expect(codecs.catalog.decode(value)).toEqual(upsert)
})

test('a serializer that would register a schema of its own making under our subject is refused', async () => {
  const guessing = new AvroSerializer(client, SerdeType.VALUE, { ...byTopic, autoRegisterSchemas: true })
  await expect(guessing.serialize(catalogTopic, { itemId: 'sofa-1', colour: 'green' })).rejects.toMatchObject({
    status: 409,
  })
})
