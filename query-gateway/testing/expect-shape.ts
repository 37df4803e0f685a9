import type { Static, TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { expect } from 'vitest'

/** The value has the shape, and nothing that the shape does not document. */
export function expectShape<T extends TSchema>(shape: T, value: unknown): asserts value is Static<T> {
  expect([...Value.Errors(shape, value)].map(({ path, message }) => `${path}: ${message}`)).toEqual([])
  expect(value).toEqual(Value.Clean(shape, structuredClone(value)))
}
