import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import { asFreshetError, type ErrorCode } from '../../schemas/errors.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import type { LogRecord } from '../event-log.ts'
import type { CatalogRecord, MutationRecord } from './dispatch-state.ts'
import { isPassing, type Pauses } from './passing-failure.ts'

export async function decodeCatalog(
  records: readonly LogRecord[],
  codec: RecordCodec<CatalogEvent>,
  pauses: Pauses,
): Promise<readonly CatalogRecord[]> {
  const decoded: CatalogRecord[] = []
  for (const record of records) {
    if (record.value === null) {
      decoded.push({ record, content: { kind: 'tombstone' } })
      continue
    }
    let value = decode(codec, record.value)
    // Awaited only for a schema seen for the first time: no promise per record.
    if (value.kind === 'unlearnt') value = await learnAndDecode(codec, record.value, pauses)
    decoded.push({ record, content: value.kind === 'decoded' ? { kind: 'event', event: value.decoded } : value })
  }
  return decoded
}

const watermarkKeyStart = 'w'.charCodeAt(0)

export async function decodeMutations(
  records: readonly LogRecord[],
  codec: RecordCodec<Mutation>,
  pauses: Pauses,
): Promise<readonly MutationRecord[]> {
  const decoded: MutationRecord[] = []
  for (const record of records) {
    if (record.value === null || record.key?.[0] === watermarkKeyStart) {
      decoded.push({ record, content: { kind: 'ignored' } })
      continue
    }
    let value = decode(codec, record.value)
    if (value.kind === 'unlearnt') value = await learnAndDecode(codec, record.value, pauses)
    decoded.push({ record, content: value.kind === 'decoded' ? { kind: 'mutation', mutation: value.decoded } : value })
  }
  return decoded
}

interface Undecodable {
  readonly kind: 'undecodable'
  readonly code: ErrorCode
  readonly message: string
}

type Decoded<T> = { readonly kind: 'decoded'; readonly decoded: T } | Undecodable

function decode<T>(codec: RecordCodec<T>, value: Uint8Array): Decoded<T> | { readonly kind: 'unlearnt' } {
  try {
    return { kind: 'decoded', decoded: codec.decode(value) }
  } catch (thrown) {
    const error = asFreshetError(thrown)
    return error.code === 'schema-unknown' ? { kind: 'unlearnt' } : undecodable(error)
  }
}

const final: ReadonlySet<ErrorCode> = new Set(['schema-unknown', 'schema-incompatible', 'record-undecodable'])

/** A registry that cannot be reached is waited for: its silence says nothing about the record. */
async function learnAndDecode<T>(codec: RecordCodec<T>, value: Uint8Array, pauses: Pauses): Promise<Decoded<T>> {
  for (let attempt = 1; ; attempt++)
    try {
      await codec.learn(value)
      return { kind: 'decoded', decoded: codec.decode(value) }
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (final.has(error.code)) return undecodable(error)
      if (!isPassing(error) || pauses.ended) throw error
      await pauses.before(attempt)
    }
}

function undecodable(error: { readonly code: ErrorCode; readonly message: string }): Undecodable {
  return { kind: 'undecodable', code: error.code, message: error.message }
}
