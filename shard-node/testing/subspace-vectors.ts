import { decodeF16, encodeF16, normalise } from '../../schemas/unit-vector.ts'
import { seededRandom } from './seeded-random.ts'

export interface SubspaceVectors {
  /** A vector of the cluster as little-endian f16 bytes, as a set is put. */
  bytes(cluster: number): Uint8Array
  /** One as f32, as a query carries it. */
  query(cluster: number): Float32Array
}

/** Components are multiples of this: dot products are then exact in f32, in whatever order they are summed. */
const grid = 1 / 1024

/** Vectors of about unit length around `clusters` random centres in a subspace, as those of a model are. */
export function subspaceVectors(options: {
  readonly seed: number
  readonly dims: number
  /** Dimensions of the subspace; neighbours are the easier to tell apart the fewer. */
  readonly latentDims?: number
  readonly clusters: number
  /** Length of the noise against a centre of length 1. */
  readonly spread: number
}): SubspaceVectors {
  const { seed, dims, latentDims = 8, clusters, spread } = options
  const random = seededRandom(seed)
  const gaussian = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const direction = (length: number): Float32Array => normalise(Float32Array.from({ length }, gaussian))
  const axes = Array.from({ length: latentDims }, () => direction(dims))
  const centres = Array.from({ length: clusters }, () => direction(latentDims))
  const bytes = (cluster: number): Uint8Array => {
    const noise = direction(latentDims)
    const vector = new Float32Array(dims)
    for (const [i, centre] of centres[cluster]!.entries()) {
      const length = centre + spread * noise[i]!
      for (let d = 0; d < dims; d++) vector[d]! += length * axes[i]![d]!
    }
    return encodeF16(normalise(vector).map(value => Math.round(value / grid) * grid))
  }
  return { bytes, query: cluster => decodeF16(bytes(cluster)) }
}
