import { openCodecs, writtenSchemas } from '../avro/codec.ts'
import { FreshetError } from '../errors.ts'
import type { RecordCodec } from '../record-codec.ts'
import { type Subject, subjects } from '../topics.ts'

export interface CodecOptions {
  readonly subject: Subject
  /** Schema id that the codec writes. */
  readonly schemaId: number
  /** Schemas it can learn, by id. */
  readonly learnable?: ReadonlyMap<number, string>
}

/** The codec of one subject under a schema id of the caller's choice, without a registry. */
export async function codecOfSubject(options: CodecOptions): Promise<RecordCodec<{ readonly type: string }>> {
  const { subject, schemaId, learnable = new Map() } = options
  const { catalog, mutations, control, engagement, deadLetters, heartbeats } = await openCodecs({
    versions: async wanted =>
      writtenSchemas.flatMap(({ subject: has, schema }) => (has === wanted ? [{ id: schemaId, schema }] : [])),
    byId: async id => {
      const schema = learnable.get(id)
      if (schema === undefined) throw new FreshetError('schema-unknown', `there is no schema ${id}`)
      return { id, schema }
    },
  })
  switch (subject) {
    case subjects.catalog:
      return catalog
    case subjects.mutations:
      return mutations
    case subjects.control:
      return control
    case subjects.engagement:
      return engagement
    case subjects.deadLetters:
      return deadLetters
    case subjects.heartbeats:
      return heartbeats
  }
}
