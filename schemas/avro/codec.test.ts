import { deepStrictEqual } from 'node:assert/strict'
import avsc from 'avsc'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import type { CatalogEvent, ItemUpserted } from '../catalog-event.ts'
import { FreshetError } from '../errors.ts'
import type { Heartbeat } from '../heartbeat.ts'
import type { ObjectsPut, Watermark } from '../mutation.ts'
import type { RecordCodec } from '../record-codec.ts'
import {
  arbitraryCatalogEvent,
  arbitraryControlRecord,
  arbitraryDeadLetter,
  arbitraryEngagementRecord,
  arbitraryHeartbeat,
  arbitraryItemUpserted,
  arbitraryMutation,
  arbitraryObjectsPut,
} from '../testing/arbitraries.ts'
import { MemorySchemaDirectory } from '../testing/memory-schema-directory.ts'
import { subjects } from '../topics.ts'
import { type Codecs, openCatalogCodec, openCodecs, registerSchemas, writtenSchemas } from './codec.ts'

const catalogSchema = JSON.parse(schemaOf(subjects.catalog)) as AvroRecord[]
const [upsert] = fc.sample(arbitraryItemUpserted, { numRuns: 1, seed: 3 }) as [ItemUpserted]

let directory: MemorySchemaDirectory
let codecs: Codecs

beforeEach(async () => {
  directory = new MemorySchemaDirectory()
  await registerSchemas(directory)
  codecs = await openCodecs(directory)
})

describe('a record comes back as it was', () => {
  test('catalog', () => returns(codecs.catalog, arbitraryCatalogEvent))
  test('mutations', () => returns(codecs.mutations, arbitraryMutation))
  test('control', () => returns(codecs.control, arbitraryControlRecord))
  test('engagement', () => returns(codecs.engagement, arbitraryEngagementRecord))
  test('dead letters', () => returns(codecs.deadLetters, arbitraryDeadLetter))
  test('heartbeats', () => returns(codecs.heartbeats, arbitraryHeartbeat))

  test('with an attribute called __proto__', () => {
    const attributes = JSON.parse('{"__proto__":"a","constructor":true}')
    expect(codecs.catalog.decode(codecs.catalog.encode({ ...upsert, attributes }))).toStrictEqual({
      ...upsert,
      attributes,
    })
  })

  test('when it is longer than the buffer the codec begins with', () => {
    const long = { ...upsert, title: 'é'.repeat(3_000_000) }
    expect(codecs.catalog.decode(codecs.catalog.encode(long))).toStrictEqual(long)
    expect(codecs.catalog.decode(codecs.catalog.encode(upsert))).toStrictEqual(upsert)
  })

  function returns<T>(codec: RecordCodec<T>, records: fc.Arbitrary<T>): void {
    fc.assert(
      fc.property(records, record => {
        // Vitest takes an own property called "constructor" for the class of its object.
        deepStrictEqual(codec.decode(codec.encode(record)), record)
      }),
    )
  }
})

describe('framing', () => {
  test('a zero byte, the schema id big-endian, then Avro as avsc alone writes it', async () => {
    const [registered] = await directory.versions(subjects.catalog)
    const value = codecs.catalog.encode(upsert)
    expect(Buffer.from(value.subarray(0, 5)).toString('hex')).toBe(`00${registered!.id.toString(16).padStart(8, '0')}`)
    const alone = avsc.Type.forSchema(JSON.parse(registered!.schema))
    expect(Buffer.from(value.subarray(5))).toEqual(alone.toBuffer({ 'freshet.ItemUpserted': upsert }))
  })

  test('encoded and decoded bytes own their memory', () => {
    const [put] = fc.sample(arbitraryObjectsPut(8), 1) as [ObjectsPut]
    const value = codecs.mutations.encode(put)
    expect(value.buffer.byteLength).toBe(value.byteLength)
    const decoded = codecs.mutations.decode(value)
    const vectors = decoded.type === 'ObjectsPut' ? decoded.objects.map(({ vector }) => vector) : []
    expect(vectors.map(vector => vector.buffer.byteLength)).toEqual(put.objects.map(({ vector }) => vector.byteLength))
  })

  test('a view into a larger array is decoded', () => {
    const value = codecs.catalog.encode(upsert)
    const larger = new Uint8Array(value.length + 20)
    larger.set(value, 7)
    expect(codecs.catalog.decode(larger.subarray(7, 7 + value.length))).toStrictEqual(upsert)
  })
})

describe('what is no record', () => {
  test.each([
    ['nothing', new Uint8Array()],
    ['a header alone', Uint8Array.of(0, 0, 0, 0, 1)],
    ['text', Buffer.from('{"itemId":"a"}')],
  ])('%s is undecodable', (_name, value) => {
    expect(codeOf(() => codecs.catalog.decode(value))).toBe('record-undecodable')
  })

  test('a byte too few or too many is undecodable', () => {
    const value = codecs.catalog.encode(upsert)
    for (const damaged of [value.subarray(0, -1), Uint8Array.of(...value, 0)])
      expect(codeOf(() => codecs.catalog.decode(damaged))).toBe('record-undecodable')
  })

  test('random bytes after a good header never throw anything else', () => {
    const header = codecs.mutations.encode(watermark).subarray(0, 5)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400, size: 'max' }), body => {
        const code = codeOf(() => codecs.mutations.decode(Uint8Array.of(...header, ...body)))
        expect([undefined, 'record-undecodable']).toContain(code)
      }),
    )
  })

  test('a record with one byte changed never throws anything else', () => {
    fc.assert(
      fc.property(arbitraryMutation, fc.nat(), fc.nat(255), (record, place, byte) => {
        const value = codecs.mutations.encode(record)
        value[5 + (place % (value.length - 5))] = byte
        expect([undefined, 'record-undecodable']).toContain(codeOf(() => codecs.mutations.decode(value)))
      }),
    )
  })

  test.each(['', 'a\u0000b', 'x'.repeat(513)])(
    'an event with item id %j is undecodable, with the reason as cause',
    itemId => {
      const deleted = { type: 'ItemDeleted', itemId } as CatalogEvent
      const error = errorOf(() => codecs.catalog.decode(codecs.catalog.encode(deleted)))
      expect(error).toMatchObject({ code: 'record-undecodable', cause: { code: 'bad-item-id' } })
    },
  )

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('a price of %d is undecodable', price => {
    const value = codecs.catalog.encode({ ...upsert, price })
    expect(codeOf(() => codecs.catalog.decode(value))).toBe('record-undecodable')
  })

  test('an engagement action nobody knows is undecodable', () => {
    const engaged = { type: 'Engaged', queryId: 'q', itemId: 'i', action: 'stare', position: 0, atMs: 1 } as const
    const value = codecs.engagement.encode(engaged as never)
    expect(codeOf(() => codecs.engagement.decode(value))).toBe('record-undecodable')
  })

  test('a record that does not fit its type is refused with the place, and the codec goes on', () => {
    const wrong = { ...watermark, offset: 1.5 } as Watermark
    expect(errorOf(() => codecs.mutations.encode(wrong))).toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/Watermark .* offset$/),
    })
    expect(codecs.mutations.decode(codecs.mutations.encode(watermark))).toStrictEqual(watermark)
  })
})

describe('schemas of others', () => {
  test('an id that was not learnt is unknown until the registry holds it', async () => {
    const value = frame(77, Buffer.alloc(1))
    expect(codeOf(() => codecs.catalog.decode(value))).toBe('schema-unknown')
    await expect(codecs.catalog.learn(value)).rejects.toMatchObject({ code: 'schema-unknown' })
  })

  test('opening before the schemas are registered names the step', async () => {
    await expect(openCodecs(new MemorySchemaDirectory())).rejects.toMatchObject({
      code: 'schema-unknown',
      message: expect.stringContaining('schemas register'),
    })
  })

  test('a producer may register one record of the union alone', async () => {
    const itemUpserted = catalogSchema.find(({ name }) => name === 'ItemUpserted')!
    const value = await foreign(itemUpserted, upsert)
    expect(codecs.catalog.decode(value)).toStrictEqual(upsert)
  })

  test('a producer may leave out what has a default', async () => {
    const fields = catalogSchema.find(({ name }) => name === 'ItemUpserted')!.fields.slice(0, 2)
    const value = await foreign(
      { type: 'record', name: 'freshet.ItemUpserted', fields },
      { itemId: 'a', images: ['b'] },
    )
    expect(codecs.catalog.decode(value)).toStrictEqual({
      type: 'ItemUpserted',
      itemId: 'a',
      images: ['b'],
      imageVersion: '',
      refresh: false,
      title: '',
      category: '',
      price: null,
      currency: '',
      regions: [],
      available: true,
      attributes: {},
    })
  })

  test('of a union with foreign branches, our records are read and the others are undecodable', async () => {
    const union = [
      ...catalogSchema,
      { type: 'record', name: 'elsewhere.Stocked', fields: [{ name: 'n', type: 'int' }] },
    ]
    const ours = await foreign(union, { 'freshet.ItemUpserted': upsert })
    expect(codecs.catalog.decode(ours)).toStrictEqual(upsert)
    const theirs = await foreign(union, { 'elsewhere.Stocked': { n: 1 } })
    expect(codeOf(() => codecs.catalog.decode(theirs))).toBe('record-undecodable')
  })

  test.each([
    ['of another name', { type: 'record', name: 'elsewhere.Item', fields: [] }],
    ['that lacks the item id', { type: 'record', name: 'freshet.ItemUpserted', fields: [] }],
    ['that is no record', 'string'],
  ])('a schema %s is incompatible, with reasons', async (_name, schema) => {
    const id = await register(JSON.stringify(schema))
    await expect(codecs.catalog.learn(frame(id, Buffer.alloc(3)))).rejects.toMatchObject({
      code: 'schema-incompatible',
      details: expect.arrayContaining([expect.any(String)]),
    })
  })

  test.each(['{"type":', '5', '{"type":"record","name":"freshet.X"}'])('%s is no schema', async text => {
    const id = await register(text)
    await expect(codecs.catalog.learn(frame(id, Buffer.alloc(3)))).rejects.toMatchObject({
      code: 'schema-incompatible',
      details: [expect.any(String)],
    })
  })

  /** Registers a schema and writes a value with it, as a producer of another team would. */
  async function foreign(schema: object, value: object): Promise<Uint8Array> {
    const id = await register(JSON.stringify(schema))
    const written = frame(id, avsc.Type.forSchema(schema as avsc.Schema).toBuffer(value))
    await codecs.catalog.learn(written)
    return written
  }
})

describe('evolution', () => {
  const colour = { name: 'colour', type: ['null', 'string'], default: null }
  const nextSchema = JSON.stringify(
    catalogSchema.map(record =>
      record.name === 'ItemUpserted' ? { ...record, fields: [colour, ...record.fields] } : record,
    ),
  )

  test('a version with one more optional field is read by the version before it', async () => {
    const id = await register(nextSchema)
    const next = avsc.Type.forSchema(JSON.parse(nextSchema))
    const value = frame(id, next.toBuffer({ 'freshet.ItemUpserted': { ...upsert, colour: 'red' } }))
    await codecs.catalog.learn(value)
    expect(codecs.catalog.decode(value)).toStrictEqual(upsert)
  })

  test('what the version before it wrote is read by the next, with the default', () => {
    const next = avsc.Type.forSchema(JSON.parse(nextSchema))
    const before = avsc.Type.forSchema(JSON.parse(schemaOf(subjects.catalog)))
    const value = Buffer.from(codecs.catalog.encode(upsert)).subarray(5)
    const read = next.fromBuffer(value, next.createResolver(before))
    expect(read['freshet.ItemUpserted']).toMatchObject({ itemId: upsert.itemId, colour: null })
  })

  test('a state of a replica that a newer version added is not one to send queries to; a role is nobody', () => {
    const [beat] = fc.sample(arbitraryHeartbeat, { numRuns: 1, seed: 4 }) as [Heartbeat]
    const written = (more: object) => codecs.heartbeats.encode({ ...beat, ...more })
    expect(codecs.heartbeats.decode(written({ state: 'resting' })).state).toBe('refusing')
    expect(codeOf(() => codecs.heartbeats.decode(written({ role: 'cook' })))).toBe('record-undecodable')
  })

  test('an error code and a stage that a newer version added read as the general ones', async () => {
    const newer = schemaOf(subjects.mutations).replace('"publish"]', '"publish","polish"]')
    const id = await register(newer, subjects.mutations)
    const type = avsc.Type.forSchema(JSON.parse(newer))
    const failed = {
      itemId: 'a',
      version: { epoch: '0'.repeat(16), offset: 1 },
      imageIdentity: '',
      stage: 'polish',
      code: 'image-haunted',
      message: 'boo',
      retryable: false,
      attempts: 2,
    }
    const value = frame(id, type.toBuffer({ 'freshet.WorkFailed': failed }))
    await codecs.mutations.learn(value)
    expect(codecs.mutations.decode(value)).toMatchObject({ code: 'internal', stage: 'dispatch', message: 'boo' })
  })

  test('after a newer version was registered, a codec still writes with the id of its own schema', async () => {
    await register(nextSchema)
    const reopened = await openCatalogCodec(directory)
    expect(reopened.encode(upsert)).toEqual(codecs.catalog.encode(upsert))
  })
})

interface AvroRecord {
  readonly type: string
  readonly name: string
  readonly fields: readonly object[]
}

const watermark = {
  type: 'Watermark',
  partition: 3,
  offset: 12,
  oldestPendingTimeMs: null,
  endOffset: 14,
  writtenAtMs: 1_700_000_000_000,
} as Watermark

function schemaOf(subject: string): string {
  return writtenSchemas.find(entry => entry.subject === subject)!.schema
}

async function register(
  schema: string,
  subject: (typeof subjects)[keyof typeof subjects] = subjects.catalog,
): Promise<number> {
  return (await directory.register(subject, schema)).id
}

function frame(id: number, body: Uint8Array): Uint8Array {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(id, 1)
  return Buffer.concat([header, body])
}

function errorOf(run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}

function codeOf(run: () => unknown): string | undefined {
  const error = errorOf(run)
  if (error === undefined) return undefined
  return error instanceof FreshetError ? error.code : `not a FreshetError: ${error}`
}
