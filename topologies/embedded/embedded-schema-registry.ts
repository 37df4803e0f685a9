import { incompatibilities } from '../../schemas/avro/compatibility.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { Subject } from '../../schemas/topics.ts'
import type { KeyValueStore } from '../key-value-store.ts'
import { incompatibleSchema, isSameSchema, type RegisteredSchema, type SchemaRegistry } from '../schema-registry.ts'

/**
 * The registry of the one-machine form, in the key-value store of the data directory:
 * `schema:id:<id>` and `schema:subject:<subject>:<version>`, each a `RegisteredSchema` as JSON. Like Confluent's, it
 * gives a schema one id in all subjects. Ids count from 1.
 */
export class EmbeddedSchemaRegistry implements SchemaRegistry {
  readonly #store: KeyValueStore
  /** Registrations one after another: each reads the versions before it writes the next. */
  #last: Promise<unknown> = Promise.resolve()

  /** The store stays the caller's to close. */
  constructor(store: KeyValueStore) {
    this.#store = store
  }

  register(subject: Subject, schema: string): Promise<RegisteredSchema> {
    const registered = this.#last.then(() => this.#register(subject, schema))
    this.#last = registered.catch(() => undefined)
    return registered
  }

  async check(subject: Subject, schema: string): Promise<readonly string[]> {
    return incompatibilities(schema, this.#versions(subject))
  }

  async byId(id: number): Promise<RegisteredSchema> {
    const stored = this.#store.get(idKey(id))
    if (!stored) throw new FreshetError('schema-unknown', `the registry holds no schema ${id}`)
    return parse(stored)
  }

  async versions(subject: Subject): Promise<readonly RegisteredSchema[]> {
    return this.#versions(subject)
  }

  async close(): Promise<void> {
    await this.#last
  }

  async #register(subject: Subject, schema: string): Promise<RegisteredSchema> {
    const versions = this.#versions(subject)
    const known = versions.find(version => isSameSchema(version.schema, schema))
    if (known) return known
    const reasons = incompatibilities(schema, versions)
    if (reasons.length > 0) throw incompatibleSchema(subject, reasons)
    const all = this.#all(idPrefix)
    const elsewhere = all.find(registered => isSameSchema(registered.schema, schema))
    const id = elsewhere?.id ?? Math.max(0, ...all.map(registered => registered.id)) + 1
    const version = (versions.at(-1)?.version ?? 0) + 1
    const registered = { id, subject, version, schema }
    const value = Buffer.from(JSON.stringify(registered))
    const byId = elsewhere ? [] : [{ key: idKey(id), value }]
    await this.#store.write([...byId, { key: `${subjectPrefix(subject)}${version}`, value }])
    return registered
  }

  #versions(subject: Subject): readonly RegisteredSchema[] {
    return this.#all(subjectPrefix(subject)).toSorted((a, b) => a.version - b.version)
  }

  #all(prefix: string): readonly RegisteredSchema[] {
    return this.#store.entries(prefix).map(({ value }) => parse(value))
  }
}

const idPrefix = 'schema:id:'
const idKey = (id: number): string => `${idPrefix}${id}`
const subjectPrefix = (subject: Subject): string => `schema:subject:${subject}:`

function parse(value: Uint8Array): RegisteredSchema {
  return JSON.parse(Buffer.from(value).toString()) as RegisteredSchema
}
