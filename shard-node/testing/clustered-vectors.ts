import { decodeF16, encodeF16, normalise } from '../../schemas/unit-vector.ts'
import { seededRandom } from './seeded-random.ts'

export interface ClusteredVectors {
  /** A unit vector of the cluster, already rounded to f16. */
  next(cluster: number): Float32Array
}

/** Unit vectors around `clusters` random centres. */
export function clusteredVectors(options: {
  readonly seed: number
  readonly dims: number
  readonly clusters: number
  /** Length of the noise against a centre of length 1. */
  readonly spread: number
}): ClusteredVectors {
  const random = seededRandom(options.seed)
  const gaussian = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const direction = (): Float32Array => normalise(Float32Array.from({ length: options.dims }, gaussian))
  const centres = Array.from({ length: options.clusters }, direction)
  return {
    next(cluster) {
      const centre = centres[cluster]!
      const noise = direction()
      const mixed = normalise(centre.map((value, i) => value + options.spread * noise[i]!))
      return decodeF16(encodeF16(mixed))
    },
  }
}
