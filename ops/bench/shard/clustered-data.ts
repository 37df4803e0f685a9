import { decodeF16, encodeF16 } from '../../../schemas/unit-vector.ts'

/** Rows one after another. */
export interface VectorBlock {
  readonly count: number
  /** f32, rounded to f16: what every engine is given, so that all compare the same numbers. */
  readonly vectors: Float32Array
  /** The same as little-endian f16. */
  readonly encoded: Uint8Array
  /** Cluster of each row. */
  readonly clusters: Uint16Array
}

/** Catalogue rows and queries never share a random number. */
export type VectorStream = 'rows' | 'queries'

const clusters = 2_000
const latentDims = 32
/** Cluster c holds a share of rows proportional to (c + 1) ^ -skew. */
const skew = 0.7
/** Standard deviations: of a row round its centre in the latent space, and of the noise of each final component. */
const clusterSpread = 0.5
const noise = 0.1
const gaussianCount = 65_536

/**
 * The data set of the shard benches: Gaussian clusters of unequal size in 32 dimensions, projected to `dims`, with
 * noise, of unit length. Row i of a stream depends on the seed and i alone, so that every process makes the rows it
 * needs and none are shipped.
 */
export class ClusteredData {
  static readonly clusters = clusters
  readonly dims: number
  readonly seed: number
  readonly #gaussians: Float32Array
  readonly #centres: Float32Array
  readonly #projection: Float32Array
  readonly #cumulativeShare: Float64Array
  readonly #latent = new Float32Array(latentDims)

  constructor({ seed, dims }: { readonly seed: number; readonly dims: number }) {
    this.dims = dims
    this.seed = seed
    const random = randomBits(seed)
    this.#gaussians = Float32Array.from({ length: gaussianCount }, () => gaussian(random))
    this.#centres = Float32Array.from({ length: clusters * latentDims }, () => gaussian(random))
    this.#projection = Float32Array.from({ length: latentDims * dims }, () => gaussian(random) / Math.sqrt(latentDims))
    this.#cumulativeShare = cumulativeShares()
  }

  /** Rows first to first + count. */
  block(first: number, count: number, stream: VectorStream = 'rows'): VectorBlock {
    return this.rows(
      Uint32Array.from({ length: count }, (_, i) => first + i),
      stream,
    )
  }

  /** The rows of these numbers. */
  rows(numbers: Uint32Array, stream: VectorStream = 'rows'): VectorBlock {
    const count = numbers.length
    const vectors = new Float32Array(count * this.dims)
    const ofRow = new Uint16Array(count)
    for (let i = 0; i < count; i++) {
      const random = randomBits(rowSeed(this.seed, stream, numbers[i]!))
      const cluster = this.#clusterAt(random() / 2 ** 32)
      ofRow[i] = cluster
      this.#writeRow(vectors.subarray(i * this.dims, (i + 1) * this.dims), cluster, random)
    }
    const encoded = encodeF16(vectors)
    decodeF16(encoded, vectors)
    return { count, vectors, encoded, clusters: ofRow }
  }

  #clusterAt(share: number): number {
    let low = 0
    let high = clusters - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#cumulativeShare[middle]! < share) low = middle + 1
      else high = middle
    }
    return low
  }

  #writeRow(target: Float32Array, cluster: number, random: () => number): void {
    const latent = this.#latent
    for (let j = 0; j < latentDims; j += 2) {
      const bits = random()
      latent[j] = this.#centres[cluster * latentDims + j]! + clusterSpread * this.#gaussians[bits & 0xffff]!
      latent[j + 1] = this.#centres[cluster * latentDims + j + 1]! + clusterSpread * this.#gaussians[bits >>> 16]!
    }
    this.#addProjected(target)
    let squares = 0
    for (let d = 0; d < target.length; d += 2) {
      const bits = random()
      const a = target[d]! + noise * this.#gaussians[bits & 0xffff]!
      const b = target[d + 1]! + noise * this.#gaussians[bits >>> 16]!
      target[d] = a
      target[d + 1] = b
      squares += a * a + b * b
    }
    const scale = 1 / Math.sqrt(squares)
    for (let d = 0; d < target.length; d++) target[d]! *= scale
  }

  /** Four latent components a pass: a quarter of the writes to the target. */
  #addProjected(target: Float32Array): void {
    const projection = this.#projection
    const dims = target.length
    for (let j = 0; j < latentDims; j += 4) {
      const [z0, z1, z2, z3] = [this.#latent[j]!, this.#latent[j + 1]!, this.#latent[j + 2]!, this.#latent[j + 3]!]
      const at = j * dims
      for (let d = 0; d < dims; d++)
        target[d]! +=
          z0 * projection[at + d]! +
          z1 * projection[at + dims + d]! +
          z2 * projection[at + 2 * dims + d]! +
          z3 * projection[at + 3 * dims + d]!
    }
  }
}

function cumulativeShares(): Float64Array {
  const shares = new Float64Array(clusters)
  let total = 0
  for (let c = 0; c < clusters; c++) {
    total += (c + 1) ** -skew
    shares[c] = total
  }
  return shares.map(share => share / total)
}

/** u32s, the same for the same seed (mulberry32). */
export function randomBits(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

function gaussian(random: () => number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random() / 2 ** 32))
  return radius * Math.cos((2 * Math.PI * random()) / 2 ** 32)
}

/** Neighbouring rows get far apart states (the finaliser of murmur3). */
function rowSeed(seed: number, stream: VectorStream, row: number): number {
  let mixed = Math.imul(seed, 0x9e3779b1) ^ row ^ (stream === 'rows' ? 0 : 0x5bd1e995)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
