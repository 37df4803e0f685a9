import type { SchemaDirectory, SchemaRegistrar } from '../avro/codec.ts'
import { FreshetError } from '../errors.ts'
import type { Subject } from '../topics.ts'

/** Schemas by id for tests of codecs: no compatibility rules, nothing on disk. */
export class MemorySchemaDirectory implements SchemaDirectory, SchemaRegistrar {
  readonly #registered: { readonly id: number; readonly subject: Subject; readonly schema: string }[] = []

  async register(subject: Subject, schema: string): Promise<{ readonly id: number }> {
    const known = this.#registered.find(entry => entry.subject === subject && entry.schema === schema)
    if (known) return known
    const entry = { id: this.#registered.length + 1, subject, schema }
    this.#registered.push(entry)
    return entry
  }

  async byId(id: number): Promise<{ readonly id: number; readonly schema: string }> {
    const entry = this.#registered.find(registered => registered.id === id)
    if (!entry) throw new FreshetError('schema-unknown', `there is no schema ${id}`)
    return entry
  }

  async versions(subject: Subject): Promise<readonly { readonly id: number; readonly schema: string }[]> {
    return this.#registered.filter(entry => entry.subject === subject)
  }
}
