import { decodeF16 } from '../../schemas/unit-vector.ts'
import type { RowKernel, ScannedRows, ScanScope } from './row-kernel.ts'
import { columnsOf, type RowColumns, type RowMemoryHandle, scratchRows, visibility } from './row-memory.ts'

/** The kernel in plain TypeScript, to be read and to hold the other against. Keeps no scratch area. */
export class PlainKernel implements RowKernel {
  readonly columns: RowColumns
  readonly #dims: number
  #query: Float32Array
  #code: Uint8Array
  #allowed = new Uint32Array(0)

  constructor(handle: RowMemoryHandle) {
    this.columns = columnsOf(handle)
    this.#dims = handle.shape.dims
    this.#query = new Float32Array(this.#dims)
    this.#code = new Uint8Array(this.#dims / 8)
  }

  prepare(query: Float32Array, mean: Float32Array): void {
    this.#query = query.slice()
    this.#code = codeOf(query, mean)
  }

  allow(bits: Uint32Array): void {
    this.#allowed = new Uint32Array(this.columns.shape.items / 32)
    this.#allowed.set(bits.subarray(0, this.#allowed.length))
  }

  scan({ from, to, sequence, filtered }: ScanScope, want: number): ScannedRows {
    const rows = Uint32Array.from({ length: to - from }, (_, i) => from + i)
    return this.#nearest(filtered ? rows.filter(row => this.#isAllowed(row)) : rows, sequence, want)
  }

  scanRows(rows: Uint32Array, { sequence, want }: { readonly sequence: number; readonly want: number }): ScannedRows {
    return this.#nearest(rows, sequence, want)
  }

  score(rows: Uint32Array): Float32Array {
    return Float32Array.from(rows, row => dotInKernelOrder(this.#vectorOf(row), this.#query))
  }

  scoreRange(from: number, to: number): Float32Array {
    return Float32Array.from({ length: to - from }, (_, i) => dotInKernelOrder(this.#vectorOf(from + i), this.#query))
  }

  encode(from: number, to: number, mean: Float32Array): void {
    for (let row = from; row < to; row++) {
      this.columns.codes.set(codeOf(this.#vectorOf(row), mean), row * this.#code.length)
    }
  }

  #nearest(candidates: Uint32Array, sequence: number, want: number): ScannedRows {
    const { words } = this.columns
    const rows = candidates.filter(row => isVisible(words[row]!, sequence))
    const distances = Uint32Array.from(rows, row => this.#distanceTo(row))
    const farthest = distances.toSorted()[want - 1] ?? this.#dims
    const nearer = distances.filter(distance => distance < farthest).length
    let ties = scratchRows - nearer
    const kept = distances.map(distance => Number(distance < farthest || (distance === farthest && ties-- > 0)))
    return { rows: rows.filter((_, i) => kept[i]), distances: distances.filter((_, i) => kept[i]) }
  }

  #isAllowed(row: number): boolean {
    const item = this.columns.items[row]!
    return ((this.#allowed[item >>> 5]! >>> (item & 31)) & 1) === 1
  }

  #distanceTo(row: number): number {
    let distance = 0
    for (let byte = 0; byte < this.#code.length; byte++) {
      distance += onesIn(this.#code[byte]! ^ this.columns.codes[row * this.#code.length + byte]!)
    }
    return distance
  }

  #vectorOf(row: number): Float32Array {
    const halves = this.columns.halves.slice(row * this.#dims, (row + 1) * this.#dims)
    return decodeF16(new Uint8Array(halves.buffer))
  }
}

function isVisible(word: number, sequence: number): boolean {
  if (word === 0) return true
  const changed = word & visibility.sequenceMask
  return word & visibility.bornBit ? sequence >= changed : sequence < changed
}

function codeOf(vector: Float32Array, mean: Float32Array): Uint8Array {
  const code = new Uint8Array(vector.length / 8)
  for (let i = 0; i < vector.length; i++) if (vector[i]! > mean[i]!) code[i >> 3]! |= 1 << (i & 7)
  return code
}

function onesIn(byte: number): number {
  let ones = 0
  for (let rest = byte; rest !== 0; rest &= rest - 1) ones++
  return ones
}

/** Sums of each eighth component, each sum and product rounded to f32, then added pair by pair: as SIMD lanes do. */
function dotInKernelOrder(a: Float32Array, b: Float32Array): number {
  const lanes = new Float32Array(8)
  for (let i = 0; i < a.length; i++) lanes[i & 7] = lanes[i & 7]! + Math.fround(a[i]! * b[i]!)
  const pairs = new Float32Array(4)
  for (let i = 0; i < 4; i++) pairs[i] = lanes[2 * i]! + lanes[2 * i + 1]!
  return Math.fround(Math.fround(pairs[0]! + pairs[1]!) + Math.fround(pairs[2]! + pairs[3]!))
}
