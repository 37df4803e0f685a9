import avsc from 'avsc'
import { parseAvroType } from './bounded-types.ts'
import type { RecordFamily, RecordKind } from './record-families.ts'

/** One record of a family with its Avro type, in the order of the schema. */
export interface FamilyRecord<T> {
  readonly type: avsc.types.RecordType
  readonly kind: RecordKind<T>
}

/**
 * Pairs each record of the family's schema with its kind.
 * @throws Error when schema and kinds do not name the same records: a defect of this program
 */
export function familyRecords<T extends { readonly type: string }>(
  family: RecordFamily<T>,
): ReadonlyMap<string, FamilyRecord<T>> {
  const kinds = new Map<string, RecordKind<T>>(Object.entries(family.kinds))
  const records = new Map<string, FamilyRecord<T>>()
  for (const type of branchesOf(parseAvroType(family.schema))) {
    const name = type.name?.replace(/^freshet\./, '') ?? ''
    const kind = kinds.get(name)
    if (!isRecord(type) || !kind)
      throw new Error(`the schema of ${family.subject} holds ${type.name}, which has no kind`)
    records.set(name, { type, kind })
  }
  if (records.size !== kinds.size) throw new Error(`the schema of ${family.subject} lacks a record`)
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
