import avsc from 'avsc'
import { parseAvroType } from './bounded-types.ts'

/**
 * Why `candidate` is not FULL_TRANSITIVE compatible with the earlier schemas of its subject: whether every old
 * record can be read with the candidate, and every new record with each earlier schema, by the resolution rules of
 * the Avro specification 1.11. Empty when it is compatible.
 *
 * Not avsc's `createResolver`, which stops at the first problem without saying where, and which takes a record pair
 * that failed inside a union for resolved when it meets it again.
 */
export function incompatibilities(
  candidate: string,
  earlier: readonly { readonly version: number; readonly schema: string }[],
): readonly string[] {
  let next: avsc.Type
  try {
    next = parseAvroType(candidate)
  } catch (error) {
    return [`not an Avro schema: ${error instanceof Error ? error.message : String(error)}`]
  }
  return earlier.flatMap(({ version, schema }) => {
    const previous = parseAvroType(schema)
    return [
      ...unreadable(next, previous).map(reason => `records of version ${version} cannot be read with it: ${reason}`),
      ...unreadable(previous, next).map(reason => `its records cannot be read with version ${version}: ${reason}`),
    ]
  })
}

/** Why a reader of one type cannot read what another type wrote, each reason with its path; empty when it can. */
export function unreadable(reader: avsc.Type, writer: avsc.Type): readonly string[] {
  return problems({ reader, writer, path: '', assumed: new Set() })
}

interface Pair {
  readonly reader: avsc.Type
  readonly writer: avsc.Type
  readonly path: string
  /** Pairs of named types under examination or done, so that recursive schemas end. */
  readonly assumed: Set<string>
}

/** Numbers and text that the specification lets a reader promote. */
const promotions: Readonly<Record<string, readonly string[]>> = {
  long: ['int'],
  float: ['int', 'long'],
  double: ['int', 'long', 'float'],
  string: ['bytes'],
  bytes: ['string'],
}

function problems(pair: Pair): readonly string[] {
  const { reader, writer } = pair
  if (isUnion(writer)) return writer.types.flatMap(branch => problems({ ...pair, writer: branch }))
  if (isUnion(reader)) return unionProblems(pair, reader.types)
  if (isRecord(reader) && isRecord(writer)) return recordProblems(pair, reader, writer)
  if (isEnum(reader) && isEnum(writer)) return enumProblems(pair, reader, writer)
  if (isFixed(reader) && isFixed(writer)) return fixedProblems(pair, reader, writer)
  if (isArray(reader) && isArray(writer))
    return problems({ ...pair, reader: reader.itemsType, writer: writer.itemsType, path: `${pair.path}[]` })
  if (isMap(reader) && isMap(writer))
    return problems({ ...pair, reader: reader.valuesType, writer: writer.valuesType, path: `${pair.path}{}` })
  if (reader.typeName === writer.typeName || promotions[reader.typeName]?.includes(writer.typeName)) return []
  return [at(pair, `${nameOf(writer)} cannot be read as ${nameOf(reader)}`)]
}

/** A writer outside a union fits when any branch reads it; the branch of its own name is the one to complain about. */
function unionProblems(pair: Pair, branches: readonly avsc.Type[]): readonly string[] {
  let namesake: readonly string[] | undefined
  for (const branch of branches) {
    const found = problems({ ...pair, reader: branch, assumed: new Set(pair.assumed) })
    if (found.length === 0) return []
    if (branch.name !== undefined && branch.name === pair.writer.name) namesake = found
  }
  return namesake ?? [at(pair, `no branch of ${branches.map(nameOf).join(' | ')} reads ${nameOf(pair.writer)}`)]
}

function recordProblems(pair: Pair, reader: avsc.types.RecordType, writer: avsc.types.RecordType): readonly string[] {
  if (!answersTo(reader, writer)) return [at(pair, `${nameOf(writer)} cannot be read as ${nameOf(reader)}`)]
  const key = `${reader.name}:${writer.name}`
  if (pair.assumed.has(key)) return []
  pair.assumed.add(key)
  return reader.fields.flatMap(field => {
    const path = pair.path === '' ? `${shortName(reader)}.${field.name}` : `${pair.path}.${field.name}`
    const written = writer.fields.filter(({ name }) => name === field.name || field.aliases.includes(name))
    const [match, ambiguous] = written
    if (ambiguous)
      return [at({ ...pair, path }, `stands for several fields: ${written.map(({ name }) => name).join(', ')}`)]
    if (match) return problems({ ...pair, reader: field.type, writer: match.type, path })
    return field.defaultValue() === undefined ? [at({ ...pair, path }, 'is not written and has no default')] : []
  })
}

function enumProblems(pair: Pair, reader: EnumType, writer: EnumType): readonly string[] {
  if (!answersTo(reader, writer)) return [at(pair, `${nameOf(writer)} cannot be read as ${nameOf(reader)}`)]
  if (reader.default !== undefined) return []
  const unknown = writer.symbols.filter(symbol => !reader.symbols.includes(symbol))
  return unknown.length === 0 ? [] : [at(pair, `symbols ${unknown.join(', ')} are unknown and there is no default`)]
}

function fixedProblems(pair: Pair, reader: avsc.types.FixedType, writer: avsc.types.FixedType): readonly string[] {
  if (answersTo(reader, writer) && reader.size === writer.size) return []
  return [at(pair, `${nameOf(writer)} of ${writer.size} bytes cannot be read as ${nameOf(reader)} of ${reader.size}`)]
}

function answersTo(reader: avsc.Type, writer: avsc.Type): boolean {
  return writer.name === undefined || reader.name === writer.name || (reader.aliases ?? []).includes(writer.name)
}

/** The default of an enum is missing from avsc's published types. */
type EnumType = avsc.types.EnumType & { readonly default?: string }
type UnionType = avsc.types.WrappedUnionType | avsc.types.UnwrappedUnionType

const isUnion = (type: avsc.Type): type is UnionType => avsc.Type.isType(type, 'union')
const isRecord = (type: avsc.Type): type is avsc.types.RecordType => avsc.Type.isType(type, 'record', 'error')
const isEnum = (type: avsc.Type): type is EnumType => avsc.Type.isType(type, 'enum')
const isFixed = (type: avsc.Type): type is avsc.types.FixedType => avsc.Type.isType(type, 'fixed')
const isArray = (type: avsc.Type): type is avsc.types.ArrayType => avsc.Type.isType(type, 'array')
const isMap = (type: avsc.Type): type is avsc.types.MapType => avsc.Type.isType(type, 'map')

const nameOf = (type: avsc.Type): string => type.name ?? type.typeName
const shortName = (type: avsc.Type): string => nameOf(type).slice(nameOf(type).lastIndexOf('.') + 1)
const at = (pair: Pick<Pair, 'path'>, reason: string): string => (pair.path === '' ? reason : `${pair.path}: ${reason}`)
