import type { CatalogEvent } from '../catalog-event.ts'
import type { ControlRecord } from '../control.ts'
import type { DeadLetter } from '../dead-letter.ts'
import type { EngagementRecord } from '../engagement.ts'
import { FreshetError } from '../errors.ts'
import type { Heartbeat } from '../heartbeat.ts'
import type { Mutation } from '../mutation.ts'
import type { RecordCodec, SchemaSource } from '../record-codec.ts'
import type { Subject } from '../topics.ts'
import { parseAvroType } from './bounded-types.ts'
import { FramedCodec } from './framed-codec.ts'
import {
  catalogFamily,
  controlFamily,
  deadLetterFamily,
  engagementFamily,
  heartbeatFamily,
  mutationFamily,
  type RecordFamily,
} from './record-families.ts'

/** Where a codec finds the id of the schema it writes, and other schemas by id; the registry port fits. */
export interface SchemaDirectory extends SchemaSource {
  versions(subject: Subject): Promise<readonly { readonly id: number; readonly schema: string }[]>
}

/** Where the deploy step puts the schemas; the registry port fits. */
export interface SchemaRegistrar {
  register(subject: Subject, schema: string): Promise<{ readonly id: number }>
}

/** A codec per topic. */
export interface Codecs {
  readonly catalog: RecordCodec<CatalogEvent>
  readonly mutations: RecordCodec<Mutation>
  readonly control: RecordCodec<ControlRecord>
  readonly engagement: RecordCodec<EngagementRecord>
  readonly deadLetters: RecordCodec<DeadLetter>
  readonly heartbeats: RecordCodec<Heartbeat>
}

const families = [catalogFamily, mutationFamily, controlFamily, engagementFamily, deadLetterFamily, heartbeatFamily]

/** The schemas this program writes, as JSON text, with their subjects. */
export const writtenSchemas: readonly { readonly subject: Subject; readonly schema: string }[] = families.map(
  ({ subject, schema }) => ({ subject, schema }),
)

/** Deploy step, once per version of this program. @throws FreshetError `schema-incompatible` */
export async function registerSchemas(registry: SchemaRegistrar): Promise<void> {
  for (const { subject, schema } of writtenSchemas) await registry.register(subject, schema)
}

/** @throws FreshetError `schema-unknown` when the deploy step has not been run */
export async function openCodecs(directory: SchemaDirectory): Promise<Codecs> {
  const [catalog, mutations, control, engagement, deadLetters, heartbeats] = await Promise.all([
    openCatalogCodec(directory),
    openMutationCodec(directory),
    openControlCodec(directory),
    openEngagementCodec(directory),
    openDeadLetterCodec(directory),
    openHeartbeatCodec(directory),
  ])
  return { catalog, mutations, control, engagement, deadLetters, heartbeats }
}

export const openCatalogCodec = (directory: SchemaDirectory) => openCodec(catalogFamily, directory)
export const openMutationCodec = (directory: SchemaDirectory) => openCodec(mutationFamily, directory)
export const openControlCodec = (directory: SchemaDirectory) => openCodec(controlFamily, directory)
export const openEngagementCodec = (directory: SchemaDirectory) => openCodec(engagementFamily, directory)
export const openDeadLetterCodec = (directory: SchemaDirectory) => openCodec(deadLetterFamily, directory)
export const openHeartbeatCodec = (directory: SchemaDirectory) => openCodec(heartbeatFamily, directory)

/** A registry may reformat what it is given, so schemas are compared by what they write. */
async function openCodec<T extends { readonly type: string }>(
  family: RecordFamily<T>,
  directory: SchemaDirectory,
): Promise<RecordCodec<T>> {
  const written = parseAvroType(family.schema)
  const versions = await directory.versions(family.subject)
  const registered = versions.findLast(({ schema }) => written.equals(parseAvroType(schema)))
  if (!registered)
    throw new FreshetError(
      'schema-unknown',
      `the schema of ${family.subject} is not registered: run \`schemas register\``,
    )
  return new FramedCodec({ family, schemaId: registered.id, source: directory })
}
