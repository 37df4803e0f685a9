import { isUtf8 } from 'node:buffer'
import { type ItemUpserted, imageIdentity } from '../../schemas/catalog-event.ts'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { type ErrorCode, FreshetError } from '../../schemas/errors.ts'
import { asOffset, type ItemId, type Offset, parseItemId } from '../../schemas/ids.ts'
import { type AttributesPut, type ItemRemoved, mutationKey } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { noTrace, traceOf } from '../../schemas/trace-context.ts'
import type { LogRecord } from '../event-log.ts'
import { type CatalogRecord, entryOf, type PartitionState, type StepInProgress } from './dispatch-state.ts'
import { issueJob } from './image-job.ts'
import { emptyEntry, type ImagePart, type ItemEntry, imageDoneAt, removedAt } from './item-entry.ts'
import type { ImageWait, Waiting } from './window.ts'

/**
 * One record of the catalog: at most one register write, at most one job, one event in the window.
 *
 * Attributes and removals are appended unless the log, read back, holds them (a replay after a crash), and are
 * complete when read back. Image work of an upsert v with identity I, given the item's entry, first row that fits:
 *
 * | entry                                                    | decision   | job | waits for max(o,f,x) >= v   |
 * |----------------------------------------------------------|------------|-----|-----------------------------|
 * | image.version > v: a newer image or delete is known      | superseded | –   | yes, the newer one gives it |
 * | image.version = v, max(o,f,x) >= v (replay)              | finished   | –   | is so already               |
 * | image.version = v (replay, or crash before the enqueue)  | again      | yes | yes                         |
 * | I, no `refresh`, from before a gap: `firstKnown`         | changed    | yes | yes                         |
 * | I, no `refresh`, embedded                                | unchanged  | –   | no                          |
 * | I, no `refresh`, pending with its event in the window    | unchanged  | –   | no, that event does         |
 * | anything else: new, failed, pending but unknown, removed | changed    | yes | yes                         |
 *
 * Only images and deletes supersede, never attributes: a price change at 9 leaves the vectors of 8 good.
 *
 * Events of the tail (`PartitionWindow`) come before older ones of their items. For them those are a gap as log
 * compaction leaves it, and for those, when they are read, a newer image or delete is known, as in a replay.
 */
export function onCatalogRecord(
  step: StepInProgress,
  partition: PartitionState,
  { record, content }: CatalogRecord,
): void {
  const { window } = partition
  // A reader may deliver again what it delivered before a rebalance, or what another has; the window knows it already.
  if (record.offset < window.nextOf(record.offset)) return
  noteMissing(partition, record.offset)
  const isFirst = partition.expectMarker && window.tailOf(record.offset) === null
  if (isFirst || (content.kind === 'event' && content.event.type === 'TopicEpoch')) {
    onMarker(step, partition, { record, content })
    return
  }
  step.state.counts.events++
  const key = itemOfKey(record, step.state.settings.partitionCount)
  if (!key.ok) {
    refuseRecord(step, partition, record, key)
    return
  }
  if (bytesOf(record) > maxRecordBytes) {
    refuseRecord(step, partition, record, tooLarge(record))
    return
  }
  switch (content.kind) {
    case 'undecodable':
      refuseRecord(step, partition, record, content)
      return
    case 'tombstone':
      onDelete(step, partition, record, key.itemId)
      return
    case 'event': {
      const { event } = content
      if (event.type === 'TopicEpoch') return
      if (event.itemId !== key.itemId)
        refuseRecord(step, partition, record, { code: 'bad-item-id', message: 'key and item id of the value differ' })
      else if (event.type === 'ItemDeleted') onDelete(step, partition, record, key.itemId)
      else onUpsert(step, partition, record, event)
    }
  }
}

/**
 * An earlier owner may have read, and enqueued a job for, an event that log compaction has taken away before it was
 * complete, because another of its item follows. Its result may still come, and would stand above the image that the
 * item had before and has again. Which item it was nobody knows: no image from before such a gap counts as unchanged.
 */
function noteMissing(partition: PartitionState, offset: Offset): void {
  const { window, highestVersion } = partition
  const next = window.nextOf(offset)
  if (!partition.isShared || offset <= next || highestVersion < next) return
  partition.lastMissing = asOffset(Math.max(partition.lastMissing, Math.min(offset - 1, highestVersion)))
}

function onMarker(step: StepInProgress, partition: PartitionState, { record, content }: CatalogRecord): void {
  const { topicEpoch } = step.state.settings.acceptance
  const epoch = content.kind === 'event' && content.event.type === 'TopicEpoch' ? content.event.epoch : null
  if (epoch !== topicEpoch) {
    step.state.stopped = true
    step.effects.stop = {
      code: 'topic-epoch',
      message: `partition ${record.partition}, offset ${record.offset}: expected the marker of epoch ${topicEpoch}, found ${epoch ?? 'another record'}`,
    }
    return
  }
  partition.expectMarker = false
  partition.window.read(record.offset, null)
}

function onUpsert(step: StepInProgress, partition: PartitionState, record: LogRecord, event: ItemUpserted): void {
  const { offset } = record
  const { itemId } = event
  const { window } = partition
  const entry = entryOf(step, itemId) ?? emptyEntry
  const waiting = newWaiting(record, itemId)
  if (entry.a < offset && entry.x < offset)
    appendAndAwait(step, record, { waiting, mutation: attributesOf(step, record, event) })
  const identity = imageIdentity(event)
  const decision = decideImage(entry, { offset, identity, refresh: event.refresh }, partition)
  // What is not read yet between the item's image and this event may have asked for the bytes to be fetched again.
  const refresh = event.refresh || window.tailOf(offset) !== null
  switch (decision) {
    case 'superseded':
      if (imageDoneAt(entry) < offset) awaitImage(waiting, record, { hasJob: false, refresh: false })
      break
    case 'finished':
    case 'unchanged':
      break
    case 'again':
      awaitImage(waiting, record, { hasJob: true, refresh })
      issueJob(step, partition, { waiting, image: entry.image })
      break
    case 'changed': {
      const wasPending = entry.image.state === 'pending'
      const pendingSinceMs = wasPending ? entry.image.pendingSinceMs : record.appendTimeMs
      const image: ImagePart = { state: 'pending', version: offset, identity, pendingSinceMs }
      supersede(step, partition, { itemId, entry, offset })
      step.effects.table.set(itemId, { ...entry, image })
      awaitImage(waiting, record, { hasJob: true, refresh })
      issueJob(step, partition, { waiting, image })
    }
  }
  window.read(offset, waiting)
}

function awaitImage(waiting: Waiting, record: LogRecord, job: Pick<ImageWait, 'hasJob' | 'refresh'>): void {
  const { traceparent = '', tracestate } = traceOf(record.headers)
  const trace = { traceparent, ...(tracestate === undefined ? {} : { tracestate }) }
  waiting.image = { ...job, ...trace, enqueuedAtMs: 0, refusals: 0 }
}

type ImageDecision = 'superseded' | 'finished' | 'again' | 'unchanged' | 'changed'

function decideImage(
  entry: ItemEntry,
  upsert: { readonly offset: Offset; readonly identity: string; readonly refresh: boolean },
  partition: PartitionState,
): ImageDecision {
  const { image } = entry
  if (image.version > upsert.offset) return 'superseded'
  if (image.version === upsert.offset) return imageDoneAt(entry) >= upsert.offset ? 'finished' : 'again'
  if (image.identity !== upsert.identity || upsert.refresh) return 'changed'
  if (image.version < firstKnown(partition, upsert.offset)) return 'changed'
  if (image.state === 'embedded') return 'unchanged'
  return image.state === 'pending' && partition.window.knowsJob(image.version) ? 'unchanged' : 'changed'
}

/** All events of the partition from there up to this one are known. */
function firstKnown({ window, lastMissing }: PartitionState, offset: Offset): Offset {
  return asOffset(Math.max(lastMissing + 1, window.tailOf(offset) ?? 0))
}

function onDelete(step: StepInProgress, partition: PartitionState, record: LogRecord, itemId: ItemId): void {
  const { offset } = record
  const entry = entryOf(step, itemId) ?? emptyEntry
  const waiting = newWaiting(record, itemId)
  if (entry.x < offset) appendAndAwait(step, record, { waiting, mutation: removalOf(step, record, itemId) })
  if (entry.image.version < offset) {
    supersede(step, partition, { itemId, entry, offset })
    step.effects.table.set(itemId, { ...entry, image: removedAt(offset) })
  }
  partition.window.read(offset, waiting)
}

/** An item whose image is embedded, or that had none, has no older job that the hint could stop. */
function supersede(
  { effects }: StepInProgress,
  partition: PartitionState,
  by: { readonly itemId: ItemId; readonly entry: ItemEntry; readonly offset: Offset },
): void {
  partition.window.supersede(by.itemId, by.offset)
  const { state } = by.entry.image
  if (state === 'pending' || state === 'failed') effects.hints.push({ itemId: by.itemId, offset: by.offset })
}

/** The event stays in the window until the letter is durable: a commit must not outlive it. */
function refuseRecord(
  step: StepInProgress,
  partition: PartitionState,
  record: LogRecord,
  refusal: { readonly code: ErrorCode; readonly message: string },
): void {
  const letter: DeadLetter = {
    ...letterOf(step, record, refusal),
    // Another generation's dispatcher finds the same: the record itself is at fault.
    generation: '',
    attempts: 1,
    job: null,
  }
  step.state.counts.deadLetters++
  step.effects.letters.push({ partition: record.partition, eventOffset: record.offset, letter, thenAppend: null })
  const waiting = newWaiting(record, unknownItem)
  waiting.letter = true
  partition.window.read(record.offset, waiting)
}

export function letterOf(
  { state }: StepInProgress,
  record: LogRecord,
  refusal: { readonly code: ErrorCode; readonly message: string },
): Omit<DeadLetter, 'generation' | 'attempts' | 'job'> {
  return {
    type: 'DeadLetter',
    sourceTopic: record.topic,
    sourcePartition: record.partition,
    sourceOffset: record.offset,
    stage: 'dispatch',
    code: refusal.code,
    message: refusal.message,
    failedAtMs: state.nowMs,
    traceparent: traceOf(record.headers).traceparent ?? '',
    key: record.key?.subarray(0, maxKeptKeyBytes) ?? null,
    value: record.value?.subarray(0, maxRecordBytes) ?? null,
  }
}

/**
 * What is larger is refused, because its attributes, with a longer key and a version, might not fit into the log that
 * took the event; and of what is refused so much is kept. Below the default limit of Kafka, 1 MiB.
 */
const maxRecordBytes = 900_000
const maxKeptKeyBytes = 4_096

function bytesOf({ key, value }: LogRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0)
}

function tooLarge(record: LogRecord) {
  return {
    code: 'record-too-large',
    message: `an event of ${bytesOf(record)} bytes, the limit is ${maxRecordBytes}; longer values are cut off here`,
  } as const
}

const unknownItem = '' as ItemId

type KeyedItem =
  | { readonly ok: true; readonly itemId: ItemId }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

function itemOfKey(record: LogRecord, partitionCount: number): KeyedItem {
  const { key } = record
  if (key === null) return { ok: false, code: 'bad-item-id', message: 'the record has no key' }
  if (!isUtf8(key)) return { ok: false, code: 'bad-item-id', message: 'the key is not UTF-8' }
  try {
    const itemId = parseItemId(Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('utf8'))
    const partition = partitionOf(itemId, partitionCount)
    if (partition === record.partition) return { ok: true, itemId }
    return { ok: false, code: 'misrouted', message: `the key belongs to partition ${partition}` }
  } catch (thrown) {
    if (!(thrown instanceof FreshetError)) throw thrown
    return { ok: false, code: thrown.code, message: thrown.message }
  }
}

function newWaiting(record: LogRecord, itemId: ItemId): Waiting {
  return {
    offset: record.offset,
    itemId,
    appendTimeMs: record.appendTimeMs,
    bytes: bytesOf(record),
    unread: null,
    image: null,
    letter: false,
  }
}

function appendAndAwait(
  { state, effects }: StepInProgress,
  { partition, headers }: LogRecord,
  { waiting, mutation }: { readonly waiting: Waiting; readonly mutation: AttributesPut | ItemRemoved },
): void {
  const trace = traceOf(headers)
  effects.appends.push({ partition, key: mutationKey(mutation), mutation, ...(trace === noTrace ? {} : { trace }) })
  waiting.unread = { mutation, appendedAtMs: state.nowMs }
}

function attributesOf({ state }: StepInProgress, record: LogRecord, event: ItemUpserted): AttributesPut {
  return {
    type: 'AttributesPut',
    itemId: event.itemId,
    version: { epoch: state.settings.acceptance.topicEpoch, offset: record.offset },
    title: event.title,
    category: event.category,
    price: event.price,
    currency: event.currency,
    regions: event.regions,
    available: event.available,
    attributes: event.attributes,
    images: event.images,
    imageVersion: event.imageVersion,
    acceptedAtMs: record.appendTimeMs,
  }
}

function removalOf({ state }: StepInProgress, record: LogRecord, itemId: ItemId): ItemRemoved {
  return {
    type: 'ItemRemoved',
    itemId,
    version: { epoch: state.settings.acceptance.topicEpoch, offset: record.offset },
    acceptedAtMs: record.appendTimeMs,
  }
}
