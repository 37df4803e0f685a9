import avsc from 'avsc'

/**
 * Parses an Avro schema into a type that is safe on bytes nobody vouches for.
 *
 * avsc believes a length it reads: a corrupted array count makes it loop for minutes and fill memory, a negative
 * block size makes it loop for ever. Here a count or size never exceeds the bytes that are left, so that the work on
 * a value is linear in its length (of items that take at least a byte, as all of ours do). Beyond that, `bytes` are
 * plain `Uint8Array`s that own their memory, `int` is checked to be one, a map keeps the key `__proto__`, and records
 * are plain objects.
 * @throws Error when the text is not JSON or not an Avro schema
 */
export function parseAvroType(schema: string): avsc.Type {
  return avsc.Type.forSchema(JSON.parse(schema), { typeHook: boundedType, omitRecordMethods: true })
}

/** avsc's cursor over a buffer. Not in its published types: avsc is pinned, and hostile-bytes tests cover each use. */
interface Tap {
  readonly buf: Buffer
  pos: number
  readLong(): number
  skipLong(): void
  writeLong(value: number): void
  readString(): string
  skipString(): void
}

interface TapType {
  _read(tap: Tap): unknown
  _skip(tap: Tap): void
}

type SchemaOptions = Parameters<typeof avsc.Type.forSchema>[1]
type Schema = Parameters<typeof avsc.Type.forSchema>[0]

function boundedType(schema: Schema, options: SchemaOptions): avsc.Type | undefined {
  const typeName = typeof schema === 'string' ? schema : 'type' in schema ? schema.type : undefined
  switch (typeName) {
    case 'array':
      return new BoundedArray(schema, options)
    case 'map':
      return new BoundedMap(schema, options)
    case 'bytes':
      return new OwnedBytes()
    case 'int':
      return new CheckedInt()
    case 'record':
      return plainRecord(schema, options)
    default:
      return undefined
  }
}

/** A record type whose values are plain objects, so that they compare, clone and print as such. */
function plainRecord(schema: Schema, options: SchemaOptions): avsc.Type {
  const type = new avsc.types.RecordType(schema, options)
  type.recordConstructor.prototype = Object.prototype
  return type
}

/** Reads and skips run with a resolver as `this` too, which holds `itemsType` and `valuesType` like the type. */
class BoundedArray extends avsc.types.ArrayType {
  _read(tap: Tap): unknown[] {
    const items = tapType(this.itemsType)
    const values: unknown[] = []
    for (let count = readCount(tap); count > 0; count = readCount(tap)) {
      for (let i = 0; i < count; i++) values.push(items._read(tap))
    }
    return values
  }

  _skip(tap: Tap): void {
    const items = tapType(this.itemsType)
    for (let count = skipBlocks(tap); count > 0; count = skipBlocks(tap)) {
      for (let i = 0; i < count; i++) items._skip(tap)
    }
  }
}

class BoundedMap extends avsc.types.MapType {
  _read(tap: Tap): Record<string, unknown> {
    const values = tapType(this.valuesType)
    const entries: Record<string, unknown> = {}
    for (let count = readCount(tap); count > 0; count = readCount(tap)) {
      for (let i = 0; i < count; i++) {
        const key = tap.readString()
        const value = values._read(tap)
        if (key === '__proto__') defineOwn(entries, key, value)
        else entries[key] = value
      }
    }
    return entries
  }

  _skip(tap: Tap): void {
    const values = tapType(this.valuesType)
    for (let count = skipBlocks(tap); count > 0; count = skipBlocks(tap)) {
      for (let i = 0; i < count; i++) {
        tap.skipString()
        values._skip(tap)
      }
    }
  }
}

class OwnedBytes extends avsc.types.BytesType {
  _check(value: unknown, _flags: number, hook?: (value: unknown, type: avsc.Type) => void): boolean {
    const valid = value instanceof Uint8Array
    if (!valid) hook?.(value, this)
    return valid
  }

  _read(tap: Tap): Uint8Array {
    const length = withinRest(tap, tap.readLong())
    const from = tap.pos
    tap.pos += length
    const owned = new Uint8Array(length)
    owned.set(tap.buf.subarray(from, tap.pos))
    return owned
  }

  _write(tap: Tap, value: unknown): void {
    if (!(value instanceof Uint8Array)) throw new Error('bytes are expected to be a Uint8Array')
    tap.writeLong(value.length)
    const from = tap.pos
    tap.pos += value.length
    if (tap.pos <= tap.buf.length) tap.buf.set(value, from)
  }
}

class CheckedInt extends avsc.types.IntType {
  _read(tap: Tap): number {
    const value = tap.readLong()
    if (value !== (value | 0)) throw new Error('an int is out of range')
    return value
  }
}

function tapType(type: unknown): TapType {
  return type as TapType
}

/** Items of the next block; 0 at the end. A negative count is followed by the block's size in bytes. */
function readCount(tap: Tap): number {
  const count = tap.readLong()
  if (count >= 0) return withinRest(tap, count)
  tap.skipLong()
  return withinRest(tap, -count)
}

/** As `readCount`, but passes over the blocks that tell their size. */
function skipBlocks(tap: Tap): number {
  let count = tap.readLong()
  while (count < 0) {
    const sizeBytes = withinRest(tap, tap.readLong())
    tap.pos += sizeBytes
    count = tap.readLong()
  }
  return withinRest(tap, count)
}

/** Also false for NaN, and for a tap that has run past its end. */
function withinRest(tap: Tap, count: number): number {
  if (count >= 0 && count <= tap.buf.length - tap.pos) return count
  throw new Error('a length exceeds the bytes that are left')
}

function defineOwn(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true })
}
