import { dot, norm } from '../../../schemas/unit-vector.ts'

/** A stored vector, and the bytes it was made of where they are known. */
export interface SampledVector {
  readonly vector: Float32Array
  readonly imageDigest: string | null
}

export interface VectorStatistics {
  readonly count: number
  /** Vectors that are not of the generation's dimension; the rest is of the others. */
  readonly wrongDims: number
  readonly normMin: number | null
  readonly normMax: number | null
  readonly normMean: number | null
  /** Mean cosine of two different ones: 0 where they point everywhere, 1 where all are the same. Null below two. */
  readonly meanCosine: number | null
  /** Share of the pictures whose vector is that of another picture too. Null below two pictures. */
  readonly duplicateShare: number | null
}

/** Cosine above which the vectors of two pictures count as one. */
const sameCosine = 0.9999

/** What the vectors of a generation look like, whatever they are of. */
export function vectorStatistics(sampled: readonly SampledVector[], dims: number): VectorStatistics {
  const fitting = sampled.filter(({ vector }) => vector.length === dims)
  const norms = fitting.map(({ vector }) => norm(vector))
  const of = (pick: (...values: number[]) => number): number | null => (norms.length === 0 ? null : pick(...norms))
  return {
    count: sampled.length,
    wrongDims: sampled.length - fitting.length,
    normMin: of(Math.min),
    normMax: of(Math.max),
    normMean: of((...values) => values.reduce((sum, value) => sum + value, 0) / values.length),
    meanCosine: meanCosine(fitting, dims),
    duplicateShare: duplicateShare(fitting),
  }
}

/** By the length of the sum of all: the mean over all pairs, without comparing each. */
function meanCosine(sampled: readonly SampledVector[], dims: number): number | null {
  const count = sampled.length
  if (count < 2) return null
  const sum = new Float64Array(dims)
  for (const { vector } of sampled) {
    const length = norm(vector)
    for (let i = 0; i < dims; i++) sum[i]! += vector[i]! / (length || 1)
  }
  const squared = sum.reduce((total, value) => total + value * value, 0)
  return (squared - count) / (count * (count - 1))
}

/** Items that share a picture share its vector too, and say nothing. */
function duplicateShare(sampled: readonly SampledVector[]): number | null {
  const byPicture = new Map(sampled.map(({ vector, imageDigest }, i) => [imageDigest ?? i, vector]))
  const vectors = [...byPicture.values()]
  if (vectors.length < 2) return null
  const isSame = (a: Float32Array, b: Float32Array): boolean => dot(a, b) > sameCosine * norm(a) * norm(b)
  const duplicates = vectors.filter((a, i) => vectors.some((b, j) => i !== j && isSame(a, b)))
  return duplicates.length / vectors.length
}
