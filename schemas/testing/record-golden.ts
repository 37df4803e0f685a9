import { writtenSchemas } from '../avro/codec.ts'
import { codecOfSubject } from './codec-of-subject.ts'
import { readGoldenVersions, writeGoldenVersion } from './golden-files.ts'
import { sampleRecords } from './sample-records.ts'

/** `node schemas/testing/record-golden.ts`: adds a golden version of each subject whose schema has changed. */
for (const { subject, schema } of writtenSchemas) {
  const latest = readGoldenVersions().findLast(golden => golden.subject === subject)
  if (latest?.schema === schema) continue
  const version = (latest?.version ?? 0) + 1
  const codec = await codecOfSubject({ subject, schemaId: version })
  const records = sampleRecords[subject]!.map(decoded => ({ decoded, value: codec.encode(decoded) }))
  writeGoldenVersion({ subject, version, schema, records })
  process.stdout.write(`${subject} version ${version}: ${records.length} records\n`)
}
