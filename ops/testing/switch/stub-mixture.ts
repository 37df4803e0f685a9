import { createHash } from 'node:crypto'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import { stubVector } from '../../stub-model.ts'

/** Of f16 vectors and what is rounded on the way. */
const tolerance = 2e-3

/**
 * With the stub models every similarity can be worked out: that of the model which the answer names, between the
 * picture that was asked with and the one that the item was found by. Null: all are of that one model.
 */
export function stubMixture({ model, results }: SearchAnswer, picture: Uint8Array): string | null {
  const query = stubVector(createHash('sha256').update(picture).digest('hex'), model)
  for (const { itemId, similarity, item } of results) {
    const [blob] = item.blobs
    if (blob === undefined) return `${itemId} has no picture`
    const expected = dot(query, stubVector(blob.slice('blob:'.length), model))
    if (Math.abs(expected - similarity) > tolerance)
      return `the similarity of ${itemId} is ${similarity}; with ${model} it is ${expected}`
  }
  return null
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, component, i) => sum + component * b[i]!, 0)
}
