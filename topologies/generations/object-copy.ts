import { setTimeout as delay } from 'node:timers/promises'
import { type Acceptance, acceptMutation } from '../../schemas/accept-mutation.ts'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Generation, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { mutationTopic } from '../../schemas/topics.ts'
import type { EventLog, LogRecord, NewRecord } from '../event-log.ts'

export interface ObjectCopyPorts {
  readonly log: EventLog
  readonly mutations: RecordCodec<Mutation>
}

export interface ObjectCopyOptions {
  /** The generation whose objects are taken. */
  readonly from: Generation
  /** The one that gets them; of the same catalog and fingerprint. */
  readonly to: Generation
  /** What the latter takes. */
  readonly acceptance: Acceptance
  /** Nothing is wanted any more: what is in hand is finished. */
  readonly isOver: () => boolean
  /** How many of so many records may be written now; 0: none yet, and it is asked again. */
  readonly mayWrite: (records: number) => number
  /** Of how many items objects were written. */
  readonly onCopied: (items: number) => void
}

/** Decoding more at once would hold up searches where all roles are one process. */
const batchRecords = 128
const pollWaitMs = 200
const paceLookMs = 100
/** Copying goes on while the source has grown by more than this meanwhile, so that little is left to embed. */
const remainderRecords = 16
const mostRounds = 8

/**
 * Appends the objects and removals that stand in one partition of a generation's mutation log to another generation's,
 * with the versions they have. What an event came to is the same in every generation of a model, and the register
 * decides whether it counts; so what is written again, or late, is harmless as any late result. Failures are not
 * copied: the new generation tries those pictures itself, and has letters of its own for them.
 *
 * To be called before the partition's catalog is read for the new generation: then its events find their objects
 * there, or that their item was deleted since. Decision record 0019. A generation whose log is gone has nothing to copy.
 * @throws FreshetError log and codec codes; it may be called again then
 */
export async function copyObjects(
  ports: ObjectCopyPorts,
  partition: Partition,
  options: ObjectCopyOptions,
): Promise<void> {
  const source = mutationTopic(options.from)
  let from = asOffset(0)
  for (let round = 0; round < mostRounds && !options.isOver(); round++) {
    const offsets = await unlessGone(ports.log.offsets(source))
    const { start, end } = offsets?.get(partition) ?? { start: from, end: from }
    if (offsets === null || (round > 0 && end - from <= remainderRecords)) return
    await copyRange(ports, { partition, from: asOffset(Math.max(from, start)), end }, options)
    from = end
  }
}

interface Range {
  readonly partition: Partition
  readonly from: Offset
  /** Exclusive. */
  readonly end: Offset
}

/** Reads twice: what stands is known at the end only, and vectors are too many to be kept until then. */
async function copyRange(ports: ObjectCopyPorts, range: Range, options: ObjectCopyOptions): Promise<void> {
  const standing = new StandingRecords()
  await readRange(ports, range, options, async records => {
    for (const record of records) standing.note(record)
  })
  await readRange(ports, range, options, async records => {
    const copies: NewRecord[] = []
    for (const record of records)
      if (standing.has(record) && (await isTaken(ports, record, options.acceptance)))
        copies.push({ partition: record.partition, key: record.key, value: record.value })
    await write(ports, copies, options)
  })
}

/** As fast as the pace lets it. */
async function write(
  { log }: ObjectCopyPorts,
  copies: readonly NewRecord[],
  options: ObjectCopyOptions,
): Promise<void> {
  const { to, isOver, mayWrite, onCopied } = options
  for (let left = copies; left.length > 0 && !isOver(); ) {
    const now = left.slice(0, mayWrite(left.length))
    left = left.slice(now.length)
    if (now.length > 0) await log.append(mutationTopic(to), now)
    onCopied(now.filter(({ key }) => key![0] === objectsKeyStart).length)
    if (left.length > 0) await delay(paceLookMs)
  }
}

async function readRange(
  { log }: ObjectCopyPorts,
  { partition, from, end }: Range,
  { from: generation, isOver }: ObjectCopyOptions,
  use: (records: readonly LogRecord[]) => Promise<void>,
): Promise<void> {
  const topic = mutationTopic(generation)
  const options = { topic, partitions: [partition], from: new Map([[partition, from]]) }
  const reader = await unlessGone(log.openReader(options))
  if (reader === null) return
  try {
    while (!isOver() && reader.position(partition) < end) {
      const records = await unlessGone(reader.poll(batchRecords, pollWaitMs))
      if (records === null) return
      await use(records.filter(({ offset }) => offset < end))
    }
  } finally {
    await reader.close()
  }
}

/** Null: the source's topic is not there any more, because the generation was retired. */
function unlessGone<T>(answer: Promise<T>): Promise<T | null> {
  return answer.catch(thrown => {
    if (thrown instanceof FreshetError && thrown.code === 'topic-missing') return null
    throw thrown
  })
}

async function isTaken({ mutations }: ObjectCopyPorts, { value }: LogRecord, acceptance: Acceptance): Promise<boolean> {
  if (value === null) return false
  await mutations.learn(value)
  const mutation = mutations.decode(value)
  return mutation.type !== 'Watermark' && acceptMutation(mutation, acceptance) === null
}

/** Versions of one item; -1 for none. */
interface Standing {
  objects: number
  removal: number
  /** The record of the removal was not collected. */
  hasRemoval: boolean
}

const nothing: Standing = { objects: -1, removal: -1, hasRemoval: false }

/**
 * Which objects and removals of a mutation log count, by its keys alone: the newest of each item; no objects where a
 * removal is newer. What was collected does not count: a removal that was took the records of its objects before.
 */
export class StandingRecords {
  readonly #items = new Map<ItemId, Standing>()

  /** In the order of the log. */
  note({ key, value }: Pick<LogRecord, 'key' | 'value'>): void {
    const read = key && parseKey(key)
    if (!read || (read.register !== 'o' && read.register !== 'x')) return
    const { register, itemId, version } = read
    const item = this.#items.get(itemId) ?? { ...nothing }
    this.#items.set(itemId, item)
    if (register === 'o') {
      if (value !== null) item.objects = Math.max(item.objects, version)
      else if (item.objects === version) item.objects = -1
    } else if (version >= item.removal) {
      item.removal = version
      item.hasRemoval = value !== null
    }
  }

  /** Of a record that was noted. */
  has({ key, value }: Pick<LogRecord, 'key' | 'value'>): boolean {
    const read = key && value && parseKey(key)
    if (!read) return false
    const { objects, removal, hasRemoval } = this.#items.get(read.itemId) ?? nothing
    if (read.register === 'x') return hasRemoval && read.version === removal
    return read.register === 'o' && read.version === objects && objects > removal
  }
}

const objectsKeyStart = 'o'.charCodeAt(0)

/** Of `registerKey`; null for a watermark's. */
function parseKey(key: Uint8Array): { register: string; itemId: ItemId; version: number } | null {
  const text = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('utf8')
  const at = text.lastIndexOf('@')
  if (text[1] !== ':' || at < 0) return null
  return { register: text[0]!, itemId: text.slice(2, at) as ItemId, version: Number(text.slice(at + 1)) }
}
