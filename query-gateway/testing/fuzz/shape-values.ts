import type { TSchema } from '@sinclair/typebox'
import fc from 'fast-check'

/** A shape as JSON schema; what it says besides is ignored. */
interface JsonShape {
  readonly type?: string
  readonly const?: unknown
  readonly anyOf?: readonly JsonShape[]
  readonly properties?: Readonly<Record<string, JsonShape>>
  readonly required?: readonly string[]
  readonly patternProperties?: Readonly<Record<string, JsonShape>>
  readonly items?: JsonShape
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
}

/** A JSON value, with what JSON cannot hold left to the hostile ones. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** Values that have the shape. */
export function valuesOf(shape: TSchema): fc.Arbitrary<Json> {
  return ofShape(shape as JsonShape)
}

function ofShape(shape: JsonShape): fc.Arbitrary<Json> {
  if (shape.const !== undefined) return fc.constant(shape.const as Json)
  if (shape.anyOf) return fc.oneof(...shape.anyOf.map(ofShape))
  switch (shape.type) {
    case 'object':
      return objects(shape)
    case 'array': {
      const { minItems = 0, maxItems = 8 } = shape
      return fc.array(ofShape(shape.items ?? {}), { minLength: minItems, maxLength: Math.min(maxItems, minItems + 8) })
    }
    case 'string':
      return strings(shape)
    case 'integer':
      return fc.integer({ min: shape.minimum ?? -1_000, max: Math.min(shape.maximum ?? 1_000, 100_000) })
    case 'number':
      return fc.double({ min: leastOf(shape), max: shape.maximum ?? 1e6, noNaN: true })
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    default:
      return fc.oneof(fc.string(), fc.integer(), fc.constant(null))
  }
}

function leastOf({ minimum, exclusiveMinimum }: JsonShape): number {
  return minimum ?? (exclusiveMinimum === undefined ? -1e6 : exclusiveMinimum + 0.001)
}

function objects({ properties = {}, required = [], patternProperties }: JsonShape): fc.Arbitrary<Json> {
  const values = Object.values(patternProperties ?? {})
  if (values.length > 0)
    return fc.dictionary(fc.string({ minLength: 1, maxLength: 12 }), ofShape(values[0]!), { maxKeys: 4 })
  const fields = Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, ofShape(each)]))
  return fc.record(fields, { requiredKeys: [...required] }) as fc.Arbitrary<Json>
}

function strings({ pattern, minLength = 0, maxLength = 40 }: JsonShape): fc.Arbitrary<string> {
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern))
  return fc.string({ minLength, maxLength: Math.min(maxLength, minLength + 40), unit: 'grapheme' })
}

/** What should be nowhere. */
export const hostileValues: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json[]>(
    null,
    '',
    ' ',
    0,
    -1,
    0.5,
    1e308,
    -1e308,
    5e-324,
    2 ** 53,
    -(2 ** 63),
    2 ** 32,
    true,
    [],
    {},
    [[]],
    [null],
    'null',
    '__proto__',
    'constructor',
    '../../etc/passwd',
    'file:///etc/passwd',
    'http://127.0.0.1:22/',
    'blob:zz',
    '\u0000',
    '\ud800',
    '\u202e',
    'x'.repeat(5_000),
    { toString: 1 },
    { length: 1e9 },
    Array(300).fill(0),
  ),
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<Json>,
)

/** Values of the shape with one or two places changed: another value, one missing, one too many. */
export function nearlyOf(shape: TSchema): fc.Arbitrary<Json> {
  const change = fc.record({
    path: fc.array(fc.nat(), { maxLength: 4 }),
    kind: fc.constantFrom('replace' as const, 'remove' as const, 'add' as const, 'repeat' as const),
    value: hostileValues,
    name: fc.constantFrom('extra', '__proto__', 'constructor', '', 'itemId', 'image', 'k'),
  })
  return fc
    .tuple(valuesOf(shape), fc.array(change, { minLength: 1, maxLength: 2 }))
    .map(([value, changes]) => changes.reduce<Json>((changed, each) => changedAt(changed, each.path, each), value))
}

interface Change {
  readonly kind: 'replace' | 'remove' | 'add' | 'repeat'
  readonly value: Json
  readonly name: string
}

function changedAt(value: Json, path: readonly number[], change: Change): Json {
  const [step, ...rest] = path
  if (step === undefined || value === null || typeof value !== 'object') return changed(value, change)
  const isList = Array.isArray(value)
  const keys = Object.keys(value)
  if (keys.length === 0) return changed(value, change)
  const key = keys[step % keys.length]!
  const child = (value as Record<string, Json>)[key]!
  if (change.kind === 'remove' && rest.length === 0) {
    const kept = Object.entries(value).filter(([name]) => name !== key)
    return isList ? kept.map(([, each]) => each as Json) : Object.fromEntries(kept)
  }
  const next = changedAt(child, rest, change)
  return isList ? (value as readonly Json[]).with(Number(key), next) : { ...value, [key]: next }
}

function changed(value: Json, { kind, value: other, name }: Change): Json {
  if (kind === 'repeat') return [value, value]
  if (kind === 'add' && value !== null && typeof value === 'object' && !Array.isArray(value))
    return Object.fromEntries([...Object.entries(value), [name, other]])
  return other
}
