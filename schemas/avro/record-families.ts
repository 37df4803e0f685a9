import { readFileSync } from 'node:fs'
import type { CatalogEvent, ItemUpserted } from '../catalog-event.ts'
import type { ControlRecord } from '../control.ts'
import type { DeadLetter } from '../dead-letter.ts'
import type { Engaged, EngagementAction, EngagementRecord } from '../engagement.ts'
import { type ErrorCode, FreshetError, isErrorCode } from '../errors.ts'
import type { Heartbeat } from '../heartbeat.ts'
import { parseItemId } from '../ids.ts'
import type { ItemObject, Mutation, ObjectsPut } from '../mutation.ts'
import type { ReplicaState } from '../shard-api.ts'
import { type Subject, subjects } from '../topics.ts'

/**
 * The records of one subject: its Avro schema, a record or a union of records of the namespace `freshet`, and how
 * each record maps to the TypeScript type of the same name.
 */
export interface RecordFamily<T extends { readonly type: string }> {
  readonly subject: Subject
  readonly schema: string
  readonly kinds: { readonly [Type in T['type']]: RecordKind<Extract<T, { readonly type: Type }>> }
}

/**
 * One record type. Avro decodes to the fields of the TypeScript type without `type`; where the two differ in more
 * than that, `toAvro` and `fromAvro` say how.
 */
export interface RecordKind<T> {
  toAvro(record: T): object
  /** `fields` is trusted in its Avro types only. @throws FreshetError when a value has no meaning */
  fromAvro(fields: Omit<T, 'type'>): T
}

/** A record whose fields are the same on both sides. */
const same = <T extends { readonly type: string }>(type: T['type']): RecordKind<T> => ({
  toAvro: record => record,
  fromAvro: fields => ({ type, ...fields }) as unknown as T,
})

export const catalogFamily: RecordFamily<CatalogEvent> = {
  subject: subjects.catalog,
  schema: schemaFile('catalog'),
  kinds: {
    TopicEpoch: same('TopicEpoch'),
    ItemUpserted: { toAvro: event => event, fromAvro: upserted },
    ItemDeleted: {
      toAvro: event => event,
      fromAvro: ({ itemId }) => ({ type: 'ItemDeleted', itemId: parseItemId(itemId) }),
    },
  },
}

export const mutationFamily: RecordFamily<Mutation> = {
  subject: subjects.mutations,
  schema: schemaFile('mutations'),
  kinds: {
    ObjectsPut: { toAvro: objectsToAvro, fromAvro: objectsFromAvro },
    AttributesPut: same('AttributesPut'),
    ItemRemoved: same('ItemRemoved'),
    WorkFailed: {
      toAvro: mutation => mutation,
      fromAvro: fields => ({ type: 'WorkFailed', ...fields, code: knownCode(fields.code) }),
    },
    Watermark: same('Watermark'),
  },
}

export const controlFamily: RecordFamily<ControlRecord> = {
  subject: subjects.control,
  schema: schemaFile('control'),
  kinds: {
    ModelRegistered: same('ModelRegistered'),
    GenerationStarted: same('GenerationStarted'),
    CanaryPassed: same('CanaryPassed'),
    CutoverCertified: same('CutoverCertified'),
    RoutingChanged: same('RoutingChanged'),
    GenerationRetired: same('GenerationRetired'),
  },
}

export const engagementFamily: RecordFamily<EngagementRecord> = {
  subject: subjects.engagement,
  schema: schemaFile('engagement'),
  kinds: { ResultsShown: same('ResultsShown'), Engaged: { toAvro: record => record, fromAvro: engaged } },
}

export const deadLetterFamily: RecordFamily<DeadLetter> = {
  subject: subjects.deadLetters,
  schema: schemaFile('dead-letters'),
  kinds: {
    DeadLetter: {
      toAvro: letter => ({ ...letter, key: asBuffer(letter.key), value: asBuffer(letter.value) }),
      fromAvro: fields => ({ type: 'DeadLetter', ...fields, code: knownCode(fields.code) }),
    },
  },
}

export const heartbeatFamily: RecordFamily<Heartbeat> = {
  subject: subjects.heartbeats,
  schema: schemaFile('heartbeats'),
  kinds: { Heartbeat: { toAvro: heartbeat => heartbeat, fromAvro: heartbeatFromAvro } },
}

function schemaFile(name: string): string {
  return readFileSync(new URL(`./${name}.avsc`, import.meta.url), 'utf8')
}

function upserted(fields: Omit<ItemUpserted, 'type'>): ItemUpserted {
  if (fields.price !== null && !Number.isFinite(fields.price))
    throw new FreshetError('bad-request', `the price is ${fields.price}`)
  parseItemId(fields.itemId)
  return { type: 'ItemUpserted', ...fields }
}

interface AvroBox {
  readonly x0: number
  readonly y0: number
  readonly x1: number
  readonly y1: number
}

function objectsToAvro(mutation: ObjectsPut): object {
  const objects = mutation.objects.map(({ box: [x0, y0, x1, y1], label, score, image, vector }) => ({
    box: { x0, y0, x1, y1 },
    label,
    score,
    image,
    vector,
  }))
  return { ...mutation, objects }
}

function objectsFromAvro(fields: Omit<ObjectsPut, 'type'>): ObjectsPut {
  const written = fields.objects as unknown as readonly (Omit<ItemObject, 'box'> & { readonly box: AvroBox })[]
  const objects = written.map(({ box: { x0, y0, x1, y1 }, label, score, image, vector }) => {
    const object: ItemObject = { box: [x0, y0, x1, y1], label, score, image, vector }
    return object
  })
  return { type: 'ObjectsPut', ...fields, objects }
}

const engagementActions: ReadonlySet<string> = new Set<EngagementAction>([
  'click',
  'save',
  'cart',
  'purchase',
  'notRelevant',
  'relevant',
])

function engaged(fields: Omit<Engaged, 'type'>): Engaged {
  if (!engagementActions.has(fields.action))
    throw new FreshetError('bad-request', `there is no engagement action ${fields.action}`)
  return { type: 'Engaged', ...fields }
}

const replicaStates: ReadonlySet<string> = new Set<ReplicaState>([
  'starting',
  'catching-up',
  'ready',
  'refusing',
  'stopped',
])

/** A state that a newer version added is not one to send queries to. */
function heartbeatFromAvro(fields: Omit<Heartbeat, 'type'>): Heartbeat {
  if (fields.role !== 'shard' && fields.role !== 'dispatch')
    throw new FreshetError('bad-request', `there is no role ${fields.role}`)
  return { type: 'Heartbeat', ...fields, state: replicaStates.has(fields.state) ? fields.state : 'refusing' }
}

/** A code that a newer version added reads as `internal`; the message beside it is kept. */
function knownCode(code: string): ErrorCode {
  return isErrorCode(code) ? code : 'internal'
}

/** avsc finds the bytes branch of a union by `Buffer`. */
function asBuffer(bytes: Uint8Array | null): Buffer | null {
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
