import { isDeepStrictEqual } from 'node:util'
import { FreshetError } from '../schemas/errors.ts'
import type { Subject } from '../schemas/topics.ts'

export interface RegisteredSchema {
  readonly id: number
  readonly subject: string
  readonly version: number
  /** Avro schema as JSON text. */
  readonly schema: string
}

/**
 * Schemas by id and subject, FULL_TRANSITIVE. Registered by a deploy step; the hot path only reads ids it has cached.
 *
 * Every call may throw `registry-unavailable`, which the caller may retry, and `access-denied`, which is final.
 */
export interface SchemaRegistry {
  /** Same schema again: same id. @throws FreshetError `schema-incompatible` with the reasons in details */
  register(subject: Subject, schema: string): Promise<RegisteredSchema>
  /** Reasons why the schema may not be registered; empty when it may. */
  check(subject: Subject, schema: string): Promise<readonly string[]>
  /** Without subject and version: one schema may stand under several subjects. @throws FreshetError `schema-unknown` */
  byId(id: number): Promise<Pick<RegisteredSchema, 'id' | 'schema'>>
  versions(subject: Subject): Promise<readonly RegisteredSchema[]>
  close(): Promise<void>
}

/** Whether two schema texts differ in layout and order of keys alone, which registries may change. */
export function isSameSchema(one: string, other: string): boolean {
  return one === other || isDeepStrictEqual(parsed(one), parsed(other))
}

/** What `register` throws. `reasons` is not empty. */
export function incompatibleSchema(subject: Subject, reasons: readonly string[]): FreshetError {
  return new FreshetError('schema-incompatible', `the schema does not fit ${subject}: ${reasons[0]}`, {
    details: reasons,
  })
}

/** Text that is no JSON stays: the check refuses it. */
function parsed(schema: string): unknown {
  try {
    return JSON.parse(schema)
  } catch {
    return schema
  }
}
