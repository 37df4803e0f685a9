import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { decodeF16 } from '../../schemas/unit-vector.ts'
import { PlainKernel } from './plain-kernel.ts'
import type { RowKernel } from './row-kernel.ts'
import { columnsOf, createRowMemory, type RowMemoryHandle, type RowShape, scratchRows } from './row-memory.ts'
import { fillRows, randomVector } from './testing/random-rows.ts'
import { WasmKernel } from './wasm-kernel.ts'

const filledMemory = (shape: Partial<RowShape>, seed: number): RowMemoryHandle => {
  const handle = createRowMemory({ dims: 256, capacity: 1_000, items: 256, vectors: true, threads: 2, ...shape })
  fillRows(handle, seed)
  return handle
}

const randomBits = (items: number, seed: number): Uint32Array =>
  Uint32Array.from(randomVector(items / 32, seed), value => value * 2 ** 33)

/** As bytes, so that 0 and -0 differ. */
const bytesOf = (values: Uint32Array | Float32Array): Buffer => Buffer.from(values.slice().buffer, 0, values.byteLength)

describe('the kernel in WebAssembly does what the plain one does', () => {
  const blocks = fc.record({
    dims: fc.oneof(
      fc.constantFrom(256, 384),
      fc.integer({ min: 1, max: 128 }).map(n => 8 * n),
    ),
    capacity: fc.integer({ min: 1, max: 700 }),
    seed: fc.integer(),
  })

  /** Runs `law` with both kernels over the same memory, with the same query. */
  const holds = (law: (wasm: RowKernel, plain: RowKernel, seed: number) => void): void => {
    fc.assert(
      fc.property(blocks, ({ dims, capacity, seed }) => {
        const handle = filledMemory({ dims, capacity }, seed)
        const wasm = new WasmKernel(handle, 1)
        const plain = new PlainKernel(handle)
        const query = randomVector(dims, seed + 1)
        const mean = randomVector(dims, seed + 2)
        for (const kernel of [wasm, plain]) kernel.prepare(query, mean)
        law(wasm, plain, seed)
      }),
      { numRuns: 150 },
    )
  }

  test('scan', () => {
    holds((wasm, plain, seed) => {
      const { capacity, items } = wasm.columns.shape
      const from = Math.abs(seed) % capacity
      for (const kernel of [wasm, plain]) kernel.allow(randomBits(items, seed))
      for (const filtered of [false, true]) {
        for (const want of [1, 20, 300]) {
          const scope = { from, to: capacity, sequence: 50, filtered }
          expect(wasm.scan(scope, want)).toEqual(plain.scan(scope, want))
        }
      }
    })
  })

  test('scan of listed rows', () => {
    holds((wasm, plain, seed) => {
      const { capacity } = wasm.columns.shape
      const rows = Uint32Array.from(randomVector(900, seed), value => (value + 0.5) * capacity)
      for (const want of [1, 20, 300]) {
        const options = { sequence: 50, want }
        expect(wasm.scanRows(rows, options)).toEqual(plain.scanRows(rows, options))
      }
    })
  })

  test('score', () => {
    holds((wasm, plain, seed) => {
      const { capacity } = wasm.columns.shape
      const rows = Uint32Array.from(randomVector(50, seed), value => (value + 0.5) * capacity)
      expect(bytesOf(wasm.score(rows))).toEqual(bytesOf(plain.score(rows)))
      const from = Math.abs(seed) % capacity
      expect(bytesOf(wasm.scoreRange(from, capacity))).toEqual(bytesOf(plain.scoreRange(from, capacity)))
    })
  })

  test('encode', () => {
    holds((wasm, plain, seed) => {
      const { dims, capacity } = wasm.columns.shape
      const mean = randomVector(dims, seed)
      const from = Math.abs(seed) % capacity
      plain.encode(from, capacity, mean)
      const expected = plain.columns.codes.slice()
      plain.columns.codes.fill(0, (from * dims) / 8)
      wasm.encode(from, capacity, mean)
      expect(wasm.columns.codes).toEqual(expected)
    })
  })
})

describe('scan', () => {
  const kernels = (handle: RowMemoryHandle): { readonly wasm: RowKernel; readonly plain: RowKernel } => {
    const wasm = new WasmKernel(handle, 0)
    const plain = new PlainKernel(handle)
    const query = randomVector(handle.shape.dims, 1)
    const mean = randomVector(handle.shape.dims, 2)
    for (const kernel of [wasm, plain]) kernel.prepare(query, mean)
    return { wasm, plain }
  }

  test.each([1, 10, 500, 5_000, scratchRows])('of 30,000 rows returns the %i nearest and their ties', want => {
    const { wasm, plain } = kernels(filledMemory({ capacity: 30_000 }, 3))
    const scope = { from: 0, to: 30_000, sequence: 50, filtered: false }
    const nearest = wasm.scan(scope, want)
    expect(nearest).toEqual(plain.scan(scope, want))
    expect(nearest.rows.length).toBeGreaterThanOrEqual(want)
  })

  test.each([3_000, scratchRows])(
    'of more ties than fit beside the %i nearest returns those of the lowest rows',
    want => {
      const handle = filledMemory({ dims: 8, capacity: 60_000 }, 4)
      columnsOf(handle).words.fill(0)
      const { wasm, plain } = kernels(handle)
      const scope = { from: 100, to: 60_000, sequence: 50, filtered: false }
      const nearest = wasm.scan(scope, want)
      expect(nearest).toEqual(plain.scan(scope, want))
      expect(nearest.rows).toHaveLength(scratchRows)
    },
  )

  test('of rows that are all as near returns the lowest', () => {
    const { wasm } = kernels(createRowMemory({ dims: 64, capacity: 40_000, items: 32, vectors: false, threads: 1 }))
    const { rows } = wasm.scan({ from: 100, to: 40_000, sequence: 50, filtered: false }, 10)
    expect(rows).toEqual(Uint32Array.from({ length: scratchRows }, (_, i) => 100 + i))
  })

  test('of listed rows goes on from one chunk of the list to the next', () => {
    const { wasm, plain } = kernels(filledMemory({ capacity: 30_000 }, 5))
    const rows = Uint32Array.from({ length: 30_000 }, (_, i) => (i * 7) % 30_000)
    const options = { sequence: 50, want: 200 }
    expect(wasm.scanRows(rows, options)).toEqual(plain.scanRows(rows, options))
  })

  test('allows no item beyond the end of the bitmap', () => {
    const handle = filledMemory({}, 6)
    const { items, words } = columnsOf(handle)
    words.fill(0)
    const { wasm } = kernels(handle)
    wasm.allow(new Uint32Array(8).fill(0xffffffff))
    wasm.allow(new Uint32Array(2).fill(0xffffffff))
    const { rows } = wasm.scan({ from: 0, to: 1_000, sequence: 50, filtered: true }, 1_000)
    expect([...rows]).toEqual([...items.keys()].filter(row => items[row]! < 64))
  })
})

test('every finite f16 has the value that the codec gives it', () => {
  const dims = 8
  const handle = createRowMemory({ dims, capacity: 65_536 / dims, items: 32, vectors: true, threads: 1 })
  const { halves } = columnsOf(handle)
  for (let half = 0; half < 65_536; half++) halves[half] = (half & 0x7c00) === 0x7c00 ? 0 : half
  const expected = decodeF16(new Uint8Array(halves.slice().buffer))
  const kernel = new WasmKernel(handle, 0)
  for (let i = 0; i < dims; i++) {
    kernel.prepare(new Float32Array(dims).fill(1, i, i + 1), new Float32Array(dims))
    const component = expected.filter((_, half) => half % dims === i)
    expect(kernel.scoreRange(0, 65_536 / dims)).toEqual(component.map(value => value + 0))
  }
})

test('a query is taken again when the query or the mean is another one', () => {
  const handle = filledMemory({}, 7)
  const kernel = new WasmKernel(handle, 0)
  const plain = new PlainKernel(handle)
  const [a, b, c] = [1, 2, 3].map(seed => randomVector(256, seed))
  const scope = { from: 0, to: 1_000, sequence: 50, filtered: false }
  for (const [query, mean] of [
    [a, b],
    [c, b],
    [c, b],
    [c, a],
    [a, a],
    [a, b],
  ] as const) {
    for (const each of [kernel, plain]) each.prepare(query!, mean!)
    expect(kernel.scan(scope, 100)).toEqual(plain.scan(scope, 100))
    expect(kernel.scoreRange(0, 10)).toEqual(plain.scoreRange(0, 10))
    kernel.encode(0, 10, c!)
  }
})

describe('refuses', () => {
  const kernel = new WasmKernel(filledMemory({}, 8), 0)
  const codesOnly = new WasmKernel(filledMemory({ vectors: false }, 8), 0)
  const scope = { from: 0, to: 1_000, sequence: 1, filtered: false }
  test.each<readonly [string, () => unknown]>([
    ['rows behind the last', () => kernel.scan({ ...scope, to: 1_001 }, 1)],
    ['a range that ends before it begins', () => kernel.scan({ ...scope, from: 2, to: 1 }, 1)],
    ['to keep no row', () => kernel.scan(scope, 0)],
    ['to keep more rows than there is room for', () => kernel.scan(scope, scratchRows + 1)],
    ['to score more rows than there is room for', () => kernel.score(new Uint32Array(scratchRows + 1))],
    ['to score without vectors', () => codesOnly.scoreRange(0, 1)],
    ['to encode without vectors', () => codesOnly.encode(0, 1, new Float32Array(256))],
    ['a thread without a scratch area', () => new WasmKernel(filledMemory({}, 8), 2)],
  ])('%s', (_, call) => {
    expect(call).toThrow(FreshetError)
  })
})
