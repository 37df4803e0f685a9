/**
 * Vector arithmetic: f16 codec, norms, dot products. Vectors are unit length, compared by dot product.
 * f16 is IEEE 754 binary16, little-endian on the wire.
 */
const toF32 = buildTable()
const f32 = new Float32Array(1)
const bits = new Uint32Array(f32.buffer)

function buildTable(): Float32Array {
  const table = new Float32Array(65_536)
  for (let half = 0; half < 65_536; half++) {
    const sign = half & 0x8000 ? -1 : 1
    const exponent = (half >> 10) & 0x1f
    const fraction = half & 0x3ff
    if (exponent === 0) table[half] = sign * 2 ** -14 * (fraction / 1024)
    else if (exponent === 31) table[half] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
    else table[half] = sign * 2 ** (exponent - 15) * (1 + fraction / 1024)
  }
  return table
}

/** Rounds to nearest, ties to even. */
function halfOf(value: number): number {
  f32[0] = value
  const x = bits[0]!
  const sign = (x >>> 16) & 0x8000
  const magnitude = x & 0x7fffffff
  if (magnitude >= 0x47800000) return magnitude > 0x7f800000 ? sign | 0x7e00 : sign | 0x7c00
  if (magnitude < 0x38800000) {
    if (magnitude < 0x33000000) return sign
    const shift = 126 - (magnitude >>> 23)
    const mantissa = (magnitude & 0x7fffff) | 0x800000
    const half = mantissa >>> shift
    const rest = mantissa & ((1 << shift) - 1)
    const midpoint = 1 << (shift - 1)
    return sign | (half + (rest > midpoint || (rest === midpoint && half & 1) ? 1 : 0))
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
  return rounded >= 0x47800000 ? sign | 0x7c00 : sign | ((rounded - 0x38000000) >>> 13)
}

/** f32 components as little-endian f16 bytes, 2 × length. */
export function encodeF16(vector: ArrayLike<number>): Uint8Array {
  const out = new Uint8Array(vector.length * 2)
  for (let i = 0; i < vector.length; i++) {
    const half = halfOf(vector[i]!)
    out[2 * i] = half & 0xff
    out[2 * i + 1] = half >>> 8
  }
  return out
}

/** Little-endian f16 bytes as f32 components; writes into `target` at `offset` when given. */
export function decodeF16(bytes: Uint8Array, target?: Float32Array, offset = 0): Float32Array {
  const length = bytes.length >> 1
  const out = target ?? new Float32Array(length)
  for (let i = 0; i < length; i++) out[offset + i] = toF32[bytes[2 * i]! | (bytes[2 * i + 1]! << 8)]!
  return out
}

/** Dot product of `a` with the `a.length` components of `b` from `offset`. */
export function dot(a: Float32Array, b: Float32Array, offset = 0): number {
  let s0 = 0
  let s1 = 0
  let s2 = 0
  let s3 = 0
  const end = a.length & ~3
  let i = 0
  for (; i < end; i += 4) {
    s0 += a[i]! * b[offset + i]!
    s1 += a[i + 1]! * b[offset + i + 1]!
    s2 += a[i + 2]! * b[offset + i + 2]!
    s3 += a[i + 3]! * b[offset + i + 3]!
  }
  for (; i < a.length; i++) s0 += a[i]! * b[offset + i]!
  return s0 + s1 + s2 + s3
}

export function norm(vector: Float32Array): number {
  return Math.sqrt(dot(vector, vector))
}

/** The vector scaled to unit length, in place. A zero vector stays zero. */
export function normalise(vector: Float32Array): Float32Array {
  const length = norm(vector)
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i]! /= length
  return vector
}
