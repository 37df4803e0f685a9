import avsc from 'avsc'
import type { RecordFamily, RecordKind } from './record-families.ts'

/** One record of a family with its Avro type. */
export interface FamilyRecord<T> {
  readonly name: string
  readonly type: avsc.types.RecordType
  readonly kind: RecordKind<T>
}

/**
 * The records of a family's schema with their kinds, in the order of the schema.
 * @throws Error when schema and kinds do not name the same records: a defect of this program
 */
export function familyRecords<T extends { readonly type: string }>(
  schema: avsc.Type,
  { subject, kinds }: RecordFamily<T>,
): readonly FamilyRecord<T>[] {
  const kindOf = new Map<string, RecordKind<T>>(Object.entries(kinds))
  const records = branchesOf(schema).map(type => {
    const name = type.name?.replace(/^freshet\./, '') ?? ''
    const kind = kindOf.get(name)
    if (!isRecord(type) || !kind) throw new Error(`the schema of ${subject} holds ${type.name}, which has no kind`)
    return { name, type, kind }
  })
  if (records.length !== kindOf.size) throw new Error(`the schema of ${subject} lacks a record`)
  return records
}

/** The types of a union, or the type itself. */
export function branchesOf(type: avsc.Type): readonly avsc.Type[] {
  return isUnion(type) ? type.types : [type]
}

export function isUnion(type: avsc.Type): type is avsc.types.WrappedUnionType | avsc.types.UnwrappedUnionType {
  return avsc.Type.isType(type, 'union')
}

function isRecord(type: avsc.Type): type is avsc.types.RecordType {
  return avsc.Type.isType(type, 'record')
}
