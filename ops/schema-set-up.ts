import { writtenSchemas } from '../schemas/avro/codec.ts'
import type { Subject } from '../schemas/topics.ts'
import { isSameSchema, type SchemaRegistry } from '../topologies/schema-registry.ts'

/** How the schema this program writes stands in a registry. */
export type RegistryFinding = { readonly subject: Subject } & (
  | { readonly state: 'known'; readonly version: number; readonly id: number }
  | { readonly state: 'new' }
  | { readonly state: 'incompatible'; readonly problems: readonly string[] }
)

export interface RegisteredSubject {
  readonly subject: Subject
  readonly state: 'known' | 'new'
  readonly version: number
  readonly id: number
}

/** Changes nothing: fit for a pull request. @throws FreshetError `registry-unavailable` | `access-denied` */
export async function checkRegistry(registry: SchemaRegistry): Promise<readonly RegistryFinding[]> {
  return Promise.all(
    writtenSchemas.map(async ({ subject, schema }): Promise<RegistryFinding> => {
      const known = (await registry.versions(subject)).find(version => isSameSchema(version.schema, schema))
      if (known) return { subject, state: 'known', version: known.version, id: known.id }
      const problems = await registry.check(subject, schema)
      return problems.length > 0 ? { subject, state: 'incompatible', problems } : { subject, state: 'new' }
    }),
  )
}

/**
 * Registers every schema this program writes; a repetition does nothing. Callers check first, so that a deployment
 * which can not be finished is not begun.
 * @throws FreshetError `schema-incompatible` | `registry-unavailable` | `access-denied`
 */
export async function registerAll(
  registry: SchemaRegistry,
  findings: readonly RegistryFinding[],
): Promise<readonly RegisteredSubject[]> {
  const known = new Set(findings.filter(({ state }) => state === 'known').map(({ subject }) => subject))
  const registered: RegisteredSubject[] = []
  for (const { subject, schema } of writtenSchemas) {
    const { version, id } = await registry.register(subject, schema)
    registered.push({ subject, state: known.has(subject) ? 'known' : 'new', version, id })
  }
  return registered
}
