import type { Static, TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { type ErrorCode, FreshetError } from './errors.ts'

/** One kind of text on the wire. */
export interface WireCodec<T> {
  encode(value: T): string
  /** @throws FreshetError `bad-request` of a request, `replica-unavailable` of an answer, with the field in the details */
  decode(text: string): T
}

type Refusal = Extract<ErrorCode, 'bad-request' | 'replica-unavailable'>

/** How a value differs from what stands on the wire; nothing, when left out. */
interface Mapping<T, Wire> {
  toWire(value: T): unknown
  fromWire(wire: Wire): T
}

/** JSON of a shape, which is checked where it is read. */
export function codec<S extends TSchema, T = Static<S>>(
  shape: S,
  refusal: Refusal,
  mapping: Mapping<T, Static<S>> = { toWire: value => value, fromWire: wire => wire as T },
): WireCodec<T> {
  const compiled = TypeCompiler.Compile(shape)
  return {
    encode: value => JSON.stringify(mapping.toWire(value)),
    decode: text => {
      const value = parse(text, refusal)
      if (compiled.Check(value)) return mapping.fromWire(value)
      const error = compiled.Errors(value).First()
      throw malformed(refusal, `${error?.path ?? ''}: ${error?.message ?? 'not the shape'}`, error?.path)
    },
  }
}

/** The error of a text that is none of what it should be. */
export function malformed(refusal: Refusal, message: string, field = '', cause?: unknown): FreshetError {
  return new FreshetError(refusal, message, { cause, details: { why: 'malformed', field } })
}

function parse(text: string, refusal: Refusal): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw malformed(refusal, 'the body is not JSON', '', cause)
  }
}
