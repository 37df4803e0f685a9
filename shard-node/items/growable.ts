import { FreshetError } from '../../schemas/errors.ts'

/** Item numbers lie below. Sizes address space only: memory is taken as items come. */
export const maxItems = 2 ** 26

type Float64Column = Float64Array<ArrayBuffer>
type Uint32Column = Uint32Array<ArrayBuffer>
type Uint16Column = Uint16Array<ArrayBuffer>
type Uint8Column = Uint8Array<ArrayBuffer>
type SharedUint32Column = Uint32Array<SharedArrayBuffer>

export type Column = Float64Column | Uint32Column | Uint16Column | Uint8Column | SharedUint32Column

/** Arrays that grow in place, so that growing never copies. They follow the length of their buffer. */
export function float64Column(): Float64Column {
  return new Float64Array(resizable(maxItems * 8))
}

export function uint32Column(maxLength = maxItems): Uint32Column {
  return new Uint32Array(resizable(maxLength * 4))
}

export function uint16Column(): Uint16Column {
  return new Uint16Array(resizable(maxItems * 2))
}

export function uint8Column(): Uint8Column {
  return new Uint8Array(resizable(maxItems))
}

/** Other threads that were given it see it grow. */
export function sharedUint32Column(maxLength = maxItems): SharedUint32Column {
  return new Uint32Array(new SharedArrayBuffer(0, { maxByteLength: maxLength * 4 }))
}

/** Makes room for `length` elements, which are 0. @throws FreshetError `storage-full` when it cannot grow that far */
export function extend(column: Column, length: number): void {
  const { buffer } = column
  const bytes = length * column.BYTES_PER_ELEMENT
  if (bytes <= buffer.byteLength) return
  try {
    if (buffer instanceof ArrayBuffer) buffer.resize(bytes)
    else buffer.grow(bytes)
  } catch (cause) {
    throw new FreshetError('storage-full', `a column of the items cannot grow to ${bytes} bytes`, { cause })
  }
}

function resizable(maxByteLength: number): ArrayBuffer {
  return new ArrayBuffer(0, { maxByteLength })
}
