import type { Subject } from '../schemas/topics.ts'

export interface RegisteredSchema {
  readonly id: number
  readonly subject: string
  readonly version: number
  /** Avro schema as JSON text. */
  readonly schema: string
}

/** Schemas by id and subject, FULL_TRANSITIVE. Registered by a deploy step; the hot path only reads ids it has cached. */
export interface SchemaRegistry {
  /** Same schema again: same id. @throws FreshetError `schema-incompatible` with the reasons in details */
  register(subject: Subject, schema: string): Promise<RegisteredSchema>
  /** Reasons why the schema may not be registered; empty when it may. */
  check(subject: Subject, schema: string): Promise<readonly string[]>
  /** @throws FreshetError `schema-unknown` */
  byId(id: number): Promise<RegisteredSchema>
  versions(subject: Subject): Promise<readonly RegisteredSchema[]>
  close(): Promise<void>
}
