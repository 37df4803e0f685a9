import avsc from 'avsc'
import { describe, expect, test } from 'vitest'
import { writtenSchemas } from './codec.ts'
import { incompatibilities, unreadable } from './compatibility.ts'

const record = (fields: readonly object[], name = 'freshet.R'): object => ({ type: 'record', name, fields })
const field = (name: string, type: unknown, rest: object = {}): object => ({ name, type, ...rest })
const version = (schema: object, number = 1) => ({ version: number, schema: JSON.stringify(schema) })
const reasonsOf = (next: object, ...earlier: object[]) =>
  incompatibilities(
    JSON.stringify(next),
    earlier.map((schema, index) => version(schema, index + 1)),
  )

const base = record([field('id', 'string')])

describe('FULL_TRANSITIVE', () => {
  test.each([
    ['the same schema', base],
    ['an added field with a default', record([field('id', 'string'), field('n', ['null', 'int'], { default: null })])],
    ['another order of fields', record([field('n', 'int', { default: 0 }), field('id', 'string')])],
    ['text for bytes', record([field('id', 'bytes')])],
    ['new docs', { ...base, doc: 'a record' }],
  ])('allows %s', (_name, next) => {
    expect(reasonsOf(next, base)).toEqual([])
  })

  test.each([
    [
      'an added field without a default',
      record([field('id', 'string'), field('n', 'int')]),
      ['records of version 1 cannot be read with it: R.n: is not written and has no default'],
    ],
    [
      'a removed field without a default',
      record([]),
      ['its records cannot be read with version 1: R.id: is not written and has no default'],
    ],
    [
      'a changed type',
      record([field('id', 'long')]),
      [
        'records of version 1 cannot be read with it: R.id: string cannot be read as long',
        'its records cannot be read with version 1: R.id: long cannot be read as string',
      ],
    ],
    [
      'another name',
      record([field('id', 'string')], 'freshet.S'),
      [
        'records of version 1 cannot be read with it: freshet.R cannot be read as freshet.S',
        'its records cannot be read with version 1: freshet.S cannot be read as freshet.R',
      ],
    ],
    [
      'null where there was none',
      record([field('id', ['null', 'string'], { default: null })]),
      ['its records cannot be read with version 1: R.id: null cannot be read as string'],
    ],
  ])('refuses %s', (_name, next, reasons) => {
    expect(reasonsOf(next, base)).toEqual(reasons)
  })

  test('refuses what fits the last version but not the one before', () => {
    const withDefault = record([field('id', 'string', { default: '' })])
    const without = record([])
    const again = record([field('id', 'long', { default: 0 })])
    expect(reasonsOf(without, withDefault)).toEqual([])
    expect(reasonsOf(again, without)).toEqual([])
    expect(reasonsOf(again, withDefault, without)).toHaveLength(2)
  })

  test('promotes numbers one way only', () => {
    const int = record([field('n', 'int')])
    const double = record([field('n', 'double')])
    expect(reasonsOf(double, int)).toEqual([
      'its records cannot be read with version 1: R.n: double cannot be read as int',
    ])
  })

  test('allows another symbol of an enum only where the reader has a default', () => {
    const stage = (symbols: string[], rest = {}) =>
      record([field('s', { type: 'enum', name: 'Stage', symbols, ...rest })])
    expect(reasonsOf(stage(['A', 'B'], { default: 'A' }), stage(['A'], { default: 'A' }))).toEqual([])
    expect(reasonsOf(stage(['A', 'B']), stage(['A']))).toEqual([
      'its records cannot be read with version 1: R.s: symbols B are unknown and there is no default',
    ])
  })

  test('refuses a record type that joins a union, since older readers have no branch for it', () => {
    const other = record([field('x', 'int')], 'freshet.Other')
    expect(reasonsOf([base, other], [base])).toEqual([
      'its records cannot be read with version 1: no branch of freshet.R reads freshet.Other',
    ])
  })

  test('names the place inside arrays, maps and unions', () => {
    const nested = (type: string) =>
      record([
        field('list', { type: 'array', items: { type: 'map', values: ['null', record([field('x', type)], 'X')] } }),
      ])
    expect(reasonsOf(nested('string'), nested('int'))).toContain(
      'records of version 1 cannot be read with it: R.list[]{}.x: int cannot be read as string',
    )
  })

  test('ends on recursive schemas', () => {
    const tree = (leaf: string) =>
      record([field('leaf', leaf), field('children', { type: 'array', items: 'freshet.R' })])
    expect(reasonsOf(tree('string'), tree('string'))).toEqual([])
    expect(reasonsOf(tree('int'), tree('string'))).toHaveLength(2)
  })

  test('a renamed field needs an alias and a default', () => {
    const renamed = (rest: object) => record([field('key', 'string', { aliases: ['id'], ...rest })])
    expect(reasonsOf(renamed({}), base)).toEqual([
      'its records cannot be read with version 1: R.id: is not written and has no default',
    ])
    const optional = record([field('id', 'string', { default: '' })])
    expect(reasonsOf(renamed({ default: '' }), optional)).toEqual([])
  })

  test.each(['', '{', '{"type":"record"}', '"freshet.Unknown"'])('says that %j is no schema', text => {
    expect(incompatibilities(text, [])).toEqual([expect.stringContaining('not an Avro schema')])
  })
})

test('our own schemas are schemas, each field with a doc', () => {
  for (const { schema } of writtenSchemas) {
    expect(incompatibilities(schema, [version(JSON.parse(schema))])).toEqual([])
    expect(undocumented(JSON.parse(schema))).toEqual([])
  }
})

const types = [
  'null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string',
  ['null', 'string'], ['int', 'string'], ['double', 'boolean'],
  { type: 'array', items: 'int' }, { type: 'array', items: 'double' }, { type: 'map', values: 'int' },
  { type: 'fixed', name: 'F', size: 2 }, { type: 'fixed', name: 'F', size: 3 },
  { type: 'enum', name: 'E', symbols: ['A'] }, { type: 'enum', name: 'E', symbols: ['A', 'B'] },
  record([field('x', 'int')], 'P'), record([field('x', 'long'), field('y', 'int', { default: 1 })], 'P'),
  record([field('x', 'int')], 'Q'),
] as avsc.Schema[] // biome-ignore format: a table

test('of every pair of types, avsc resolves those and only those that are found readable', () => {
  const pairs = types.flatMap(reader => types.map(writer => [reader, writer] as const))
  const disagreements = pairs.filter(([reader, writer]) => {
    const [readerType, writerType] = [avsc.Type.forSchema(reader), avsc.Type.forSchema(writer)]
    return (unreadable(readerType, writerType).length === 0) !== resolves(readerType, writerType)
  })
  expect(disagreements).toEqual([])
})

function resolves(reader: avsc.Type, writer: avsc.Type): boolean {
  try {
    reader.createResolver(writer)
    return true
  } catch {
    return false
  }
}

interface SchemaPart {
  readonly type?: unknown
  readonly items?: unknown
  readonly values?: unknown
  readonly fields?: readonly { readonly name: string; readonly type: unknown; readonly doc?: string }[]
}

/** Paths of the fields of a schema that carry no doc. */
function undocumented(schema: unknown, path = ''): readonly string[] {
  if (typeof schema !== 'object' || schema === null) return []
  if (Array.isArray(schema)) return schema.flatMap(branch => undocumented(branch, path))
  const { type, items, values, fields = [] } = schema as SchemaPart
  const own = fields.flatMap(({ name, doc, type: fieldType }) => [
    ...(doc ? [] : [`${path}.${name}`]),
    ...undocumented(fieldType, `${path}.${name}`),
  ])
  return [...own, ...[type, items, values].flatMap(part => undocumented(part, path))]
}
