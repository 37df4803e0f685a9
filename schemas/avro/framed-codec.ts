import { FreshetError } from '../errors.ts'
import type { RecordCodec, SchemaSource } from '../record-codec.ts'
import { parseAvroType } from './bounded-types.ts'
import { type FamilyRecord, familyRecords, isUnion } from './family-records.ts'
import type { RecordFamily } from './record-families.ts'
import { SchemaReader } from './schema-reader.ts'

const magicByte = 0
const headerBytes = 5
const initialScratchBytes = 16 * 1024
const maxKeptScratchBytes = 1024 * 1024

export interface FramedCodecOptions<T extends { readonly type: string }> {
  readonly family: RecordFamily<T>
  /** Registered id of the family's schema: the one that is written. */
  readonly schemaId: number
  /** Asked for the schemas of other ids. */
  readonly source: SchemaSource
}

/**
 * Records of one family in Confluent framing: 0x00, schema id as u32 big-endian, Avro.
 *
 * The branch of the outer union is written and read here and by `SchemaReader` rather than by avsc, which would wrap
 * and unwrap each record, and would refuse a whole union for one branch it does not know.
 */
export class FramedCodec<T extends { readonly type: string }> implements RecordCodec<T> {
  readonly #source: SchemaSource
  readonly #records: readonly FamilyRecord<T>[]
  readonly #targets: ReadonlyMap<string, FamilyRecord<T> & { readonly prefix: Uint8Array }>
  readonly #readers: Map<number, SchemaReader<T>>
  #scratch = Buffer.allocUnsafeSlow(initialScratchBytes)

  constructor({ family, schemaId, source }: FramedCodecOptions<T>) {
    const schema = parseAvroType(family.schema)
    this.#source = source
    this.#records = familyRecords(schema, family)
    this.#targets = new Map(
      this.#records.map((record, index) => {
        const prefix = framePrefix(schemaId, isUnion(schema) ? index : undefined)
        return [record.name, { ...record, prefix }]
      }),
    )
    this.#readers = new Map([[schemaId, new SchemaReader(schema, this.#records)]])
  }

  /** @throws FreshetError `internal` when the record does not have the shape of its type */
  encode(record: T): Uint8Array {
    const target = this.#targets.get(record.type)
    if (!target) throw new FreshetError('internal', `the topic has no record type ${record.type}`)
    const { type, kind, prefix } = target
    const fields = kind.toAvro(record)
    try {
      let end = type.encode(fields, this.#scratch, prefix.length)
      if (end < 0) {
        this.#scratch = Buffer.allocUnsafeSlow(this.#scratch.length - end)
        end = type.encode(fields, this.#scratch, prefix.length)
      }
      return this.#take(prefix, end)
    } catch (cause) {
      throw new FreshetError('internal', `${record.type} does not fit its schema at ${misfit(type, fields)}`, {
        cause,
      })
    }
  }

  decode(value: Uint8Array): T {
    const schemaId = schemaIdOf(value)
    const reader = this.#readers.get(schemaId)
    if (!reader) throw new FreshetError('schema-unknown', `schema ${schemaId} has not been learnt`)
    try {
      return reader.read(asBuffer(value), headerBytes)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new FreshetError('record-undecodable', `not a record of schema ${schemaId}: ${reason}`, { cause })
    }
  }

  async learn(value: Uint8Array): Promise<void> {
    const schemaId = schemaIdOf(value)
    if (this.#readers.has(schemaId)) return
    const { schema } = await this.#source.byId(schemaId)
    this.#readers.set(schemaId, openReader(schema, this.#records))
  }

  /** The frame as an array of its own: the caller keeps it, and a message port would copy all of a shared buffer. */
  #take(prefix: Uint8Array, end: number): Uint8Array {
    this.#scratch.set(prefix)
    const frame = new Uint8Array(this.#scratch.subarray(0, end))
    if (this.#scratch.length > maxKeptScratchBytes) this.#scratch = Buffer.allocUnsafeSlow(initialScratchBytes)
    return frame
  }
}

/** What precedes the fields of a record: the header and, in a union, the branch as a zigzag varint of one byte. */
function framePrefix(schemaId: number, branch: number | undefined): Uint8Array {
  const prefix = Buffer.alloc(branch === undefined ? headerBytes : headerBytes + 1)
  prefix[0] = magicByte
  prefix.writeUInt32BE(schemaId, 1)
  if (branch !== undefined) prefix[headerBytes] = branch * 2
  return prefix
}

function schemaIdOf(value: Uint8Array): number {
  if (value.length < headerBytes || value[0] !== magicByte)
    throw new FreshetError('record-undecodable', 'the value does not begin with the header of a schema registry')
  return ((value[1]! << 24) | (value[2]! << 16) | (value[3]! << 8) | value[4]!) >>> 0
}

function openReader<T>(schema: string, records: readonly FamilyRecord<T>[]): SchemaReader<T> {
  try {
    return new SchemaReader(parseAvroType(schema), records)
  } catch (cause) {
    if (cause instanceof FreshetError) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new FreshetError('schema-incompatible', `not an Avro schema: ${reason}`, { cause, details: [reason] })
  }
}

function asBuffer(value: Uint8Array): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

/** Path of the first field that is not of its type. */
function misfit(type: FamilyRecord<unknown>['type'], fields: object): string {
  let found = '(unknown)'
  type.isValid(fields, {
    errorHook: path => {
      if (found === '(unknown)') found = path.join('.')
    },
  })
  return found
}
