import { describe, expect, test } from 'vitest'
import { writtenSchemas } from './avro/codec.ts'
import { incompatibilities } from './avro/compatibility.ts'
import { codecOfSubject } from './testing/codec-of-subject.ts'
import { readGoldenVersions } from './testing/golden-files.ts'

const golden = readGoldenVersions()

describe.each(golden)('$subject version $version', ({ subject, version, schema, records }) => {
  test.each(records)('$decoded.type decodes for ever', async ({ value, decoded }) => {
    const codec = await codecOfSubject({ subject, schemaId: 1000, learnable: new Map([[version, schema]]) })
    await codec.learn(value)
    // Fields that later versions added have their defaults and are in no older golden file.
    expect(codec.decode(value)).toMatchObject(decoded)
  })
})

describe.each(writtenSchemas)('the schema of $subject', ({ subject, schema }) => {
  const versions = golden.filter(version => version.subject === subject)
  const latest = versions.at(-1)

  test('is that of the latest golden version: else record a new one', () => {
    expect(latest?.schema).toBe(schema)
  })

  test('is compatible with all golden versions', () => {
    expect(incompatibilities(schema, versions)).toEqual([])
  })

  test('has a golden file for each record type', () => {
    const types = [JSON.parse(schema)].flat().map(({ name }: { name: string }) => name)
    expect(latest?.records.map(({ decoded }) => decoded.type).toSorted()).toEqual(types.toSorted())
  })

  test('writes the bytes of its golden files, and reads back no more and no less', async () => {
    const codec = await codecOfSubject({ subject, schemaId: latest!.version })
    for (const { value, decoded } of latest!.records) {
      expect(Buffer.from(codec.encode(decoded))).toEqual(value)
      expect(codec.decode(value)).toStrictEqual(decoded)
    }
  })
})
