import type avsc from 'avsc'
import { FreshetError } from '../errors.ts'
import { unreadable } from './compatibility.ts'
import { branchesOf, type FamilyRecord, isUnion } from './family-records.ts'

/**
 * Reads what one schema wrote as records of a family. The schema may be a record alone or a union; a union may hold
 * branches that no record of ours reads: only their records are refused.
 */
export class SchemaReader<T> {
  readonly #isUnion: boolean
  readonly #branches: readonly Branch<T>[]

  /** @throws FreshetError `schema-incompatible` when no branch can be read, with the reasons in details */
  constructor(writer: avsc.Type, records: readonly FamilyRecord<T>[]) {
    this.#isUnion = isUnion(writer)
    this.#branches = branchesOf(writer).map(branch => openBranch(branch, records))
    const refusals = this.#branches.flatMap(branch => ('refusals' in branch ? branch.refusals : []))
    if (this.#branches.every(branch => 'refusals' in branch))
      throw new FreshetError('schema-incompatible', `records of the schema cannot be read: ${refusals.join('; ')}`, {
        details: refusals,
      })
  }

  /** Reads the record that fills `buffer` from `start` to its end. @throws Error of any kind when it does not */
  read(buffer: Buffer, start: number): T {
    const branch = this.#branches[this.#isUnion ? branchIndex(buffer, start) : 0]
    if (!branch) throw new Error('the union has no such branch')
    if ('refusals' in branch) throw new Error(branch.refusals.join('; '))
    const { value, offset } = branch.record.type.decode(buffer, this.#isUnion ? start + 1 : start, branch.resolver)
    if (offset < 0) throw new Error('the record is truncated')
    if (offset < buffer.length) throw new Error(`${buffer.length - offset} bytes follow the record`)
    return branch.record.kind.fromAvro(value)
  }
}

type Branch<T> =
  | { readonly record: FamilyRecord<T>; readonly resolver: Resolver | undefined }
  | { readonly refusals: readonly string[] }
type Resolver = ReturnType<avsc.Type['createResolver']>

function openBranch<T>(writer: avsc.Type, records: readonly FamilyRecord<T>[]): Branch<T> {
  const refusals = new Map(records.map(record => [record, unreadable(record.type, writer)]))
  for (const [record, reasons] of refusals) {
    if (reasons.length > 0) continue
    return { record, resolver: record.type.equals(writer) ? undefined : record.type.createResolver(writer) }
  }
  const namesake = records.find(({ type }) => type.name === writer.name)
  return { refusals: (namesake && refusals.get(namesake)) ?? [`there is no record type ${writer.name}`] }
}

/** A zigzag varint; the branches of a schema are few, so that an index has one byte. -1 for what is none. */
function branchIndex(buffer: Buffer, at: number): number {
  const byte = buffer[at] ?? 1
  return byte < 0x80 && byte % 2 === 0 ? byte / 2 : -1
}
