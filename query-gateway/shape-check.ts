import type { Static, TSchema } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { FreshetError } from '../schemas/errors.ts'

/** Throws `bad-request` naming the field unless the value has the shape. */
export type ShapeCheck<T extends TSchema> = (value: unknown) => asserts value is Static<T>

/** Compiled once per shape. */
export function shapeCheck<T extends TSchema>(shape: T): ShapeCheck<T> {
  const compiled = TypeCompiler.Compile(shape)
  return value => {
    if (compiled.Check(value)) return
    throw shapeError(compiled.Errors(value).First()!)
  }
}

function shapeError(error: ValueError): FreshetError {
  const field = error.path.split('/').slice(1).map(unescapePointer).join('.')
  const message = field === '' ? `${expectation(error)}, got ${kindOf(error.value)}` : `${field}: ${expectation(error)}`
  return new FreshetError('bad-request', message, { details: { field, received: kindOf(error.value) } })
}

/** The shape's own words where it has some: of a union no branch is the one that was meant. */
function expectation({ schema, message }: ValueError): string {
  if (message === 'Unexpected property') return 'there is no such field'
  if (message === 'Expected required property') return 'missing'
  const words = schema.anyOf ? schema.description : undefined
  return words === undefined ? lowerFirst(message) : `expected ${words}`
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}

function unescapePointer(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~')
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}
