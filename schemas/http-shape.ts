import { type Static, type TLiteral, type TSchema, Type } from '@sinclair/typebox'
import { type ErrorBody, type ErrorCode, errorCodes } from './errors.ts'
import type { Box } from './mutation.ts'

/** Building blocks of the HTTP shapes. `$id` makes a shape a named component of the OpenAPI document. */

export const list = <T extends TSchema>(items: T, options: object = {}) =>
  Type.Unsafe<readonly Static<T>[]>(Type.Array(items, options))

export const nullable = <T extends TSchema>(shape: T, options: object = {}) => Type.Union([shape, Type.Null()], options)

/** One of these words. */
export const words = <const T extends readonly string[]>(values: T, options: object = {}) =>
  Type.Unsafe<T[number]>(
    Type.Union(
      values.map((value): TLiteral => Type.Literal(value)),
      options,
    ),
  )

/** An object of a request: a field that is not documented is refused, so that a typing error is not ignored. */
export const closed = { additionalProperties: false } as const

export const BoxShape = Type.Unsafe<Box>(
  Type.Array(Type.Number({ minimum: 0, maximum: 1 }), {
    $id: 'Box',
    minItems: 4,
    maxItems: 4,
    description: 'a box [x0, y0, x1, y1] as fractions of the EXIF-oriented image',
    examples: [[0.1, 0.2, 0.6, 0.9]],
  }),
)

/** Offsets and versions are decimal strings, since a 64-bit broker offset does not fit a JSON number. */
export const OffsetShape = Type.String({ pattern: '^(-1|[0-9]+)$', examples: ['1041'] })

/** Offsets keyed by partition. */
export const OffsetsShape = Type.Unsafe<Readonly<Record<string, string>>>(
  Type.Record(Type.String(), OffsetShape, { examples: [{ 0: '1041', 1: '998' }] }),
)

export const AttributeValueShape = Type.Union([Type.String(), Type.Number(), Type.Boolean()], {
  description: 'a string, a number or true/false',
})

export const ErrorCodeShape = Type.Unsafe<ErrorCode>(
  Type.String({ description: 'stable code of the failure', enum: Object.keys(errorCodes), examples: ['bad-request'] }),
)

const exampleError: ErrorBody = {
  error: {
    code: 'bad-request',
    message: 'price: expected a number',
    retryable: false,
    details: { field: 'price' },
  },
}

export const ErrorDetailShape = Type.Unsafe<ErrorBody['error']>(
  Type.Object({
    code: ErrorCodeShape,
    message: Type.String({ description: 'one sentence for the caller, naming the field' }),
    retryable: Type.Boolean({ description: 'the same call can succeed later' }),
    details: Type.Optional(Type.Unknown()),
  }),
)

export const ErrorShape = Type.Unsafe<ErrorBody>(
  Type.Object({ error: ErrorDetailShape }, { $id: 'Error', description: 'what failed', examples: [exampleError] }),
)
