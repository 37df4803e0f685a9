import { decodeF16, encodeF16, normalise } from '../../schemas/unit-vector.ts'

/** Random numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface ClusteredVectors {
  /** A vector of the cluster as little-endian f16 bytes, as a set is put. */
  bytes(cluster: number): Uint8Array
  /** One as f32, as a query carries it. */
  query(cluster: number): Float32Array
}

/** Components are multiples of this: dot products are then exact in f32, in whatever order they are summed. */
const grid = 1 / 1024

/** Vectors of about unit length around `clusters` random centres. */
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
  const bytes = (cluster: number): Uint8Array => {
    const centre = centres[cluster]!
    const noise = direction()
    const vector = normalise(centre.map((value, i) => value + options.spread * noise[i]!))
    return encodeF16(vector.map(value => Math.round(value / grid) * grid))
  }
  return { bytes, query: cluster => decodeF16(bytes(cluster)) }
}
