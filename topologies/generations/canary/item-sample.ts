import { asOffset, type ItemId, type Offset, type Partition, parseItemId } from '../../../schemas/ids.ts'
import type { EventLog } from '../../event-log.ts'

export interface SampleOptions {
  /** The catalogue: keyed by item. */
  readonly topic: string
  readonly count: number
  /** 0 to 1, seeded. */
  readonly random: () => number
  readonly signal: AbortSignal
}

/** Places in each partition from which is read: what lies side by side in a catalogue is often of a kind. */
const places = 4
/** A log of so many records for each item wanted is read whole. */
const fewRecords = 8
const pollRecords = 500
const waitMs = 200

/**
 * Items whose events lie behind places drawn in each partition of the log: about so many, fewer where there are
 * fewer, each once, in an order that is drawn too. @throws FreshetError log codes · the signal's reason
 */
export async function sampleItems(log: EventLog, options: SampleOptions): Promise<readonly ItemId[]> {
  const { topic, count, random, signal } = options
  const ranges = new Map([...(await log.offsets(topic))].filter(([, { start, end }]) => start < end))
  const records = [...ranges.values()].reduce((sum, { start, end }) => sum + end - start, 0)
  const isWhole = records <= count * fewRecords
  const perPlace = isWhole ? records : Math.ceil(count / (places * ranges.size))
  const found = new Set<ItemId>()
  for (let place = 0; place < (isWhole ? 1 : places); place++) {
    const from = new Map(
      [...ranges].map(([partition, range]) => [partition, isWhole ? range.start : drawn(range, random)]),
    )
    const reading = { topic, from, ends: ranges, perPlace, signal }
    for (const itemId of await readKeys(log, reading)) found.add(itemId)
  }
  return shuffled([...found], random).slice(0, count)
}

function shuffled<T>(items: T[], random: () => number): T[] {
  for (let at = items.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    ;[items[at], items[other]] = [items[other]!, items[at]!]
  }
  return items
}

type Range = { readonly start: Offset; readonly end: Offset }

/** Somewhere in the range, so that enough is behind it as a rule. */
function drawn({ start, end }: Range, random: () => number): Offset {
  return asOffset(Math.floor(start + random() * (end - start)))
}

interface Reading {
  readonly topic: string
  readonly from: ReadonlyMap<Partition, Offset>
  readonly ends: ReadonlyMap<Partition, Range>
  readonly perPlace: number
  readonly signal: AbortSignal
}

async function readKeys(log: EventLog, reading: Reading): Promise<readonly ItemId[]> {
  const { topic, from, ends, perPlace, signal } = reading
  const reader = await log.openReader({ topic, partitions: [...from.keys()], from })
  const found = new Map([...from.keys()].map(partition => [partition, new Set<ItemId>()]))
  const open = new Set(from.keys())
  try {
    while (open.size > 0) {
      signal.throwIfAborted()
      for (const { partition, key, value } of await reader.poll(pollRecords, waitMs)) {
        const itemId = value === null ? null : itemIdOf(key)
        const items = found.get(partition)!
        if (itemId !== null && items.size < perPlace) items.add(itemId)
      }
      const done = [...open].filter(
        partition => found.get(partition)!.size >= perPlace || reader.position(partition) >= ends.get(partition)!.end,
      )
      reader.pause(done)
      for (const partition of done) open.delete(partition)
    }
  } finally {
    await reader.close()
  }
  return [...found.values()].flatMap(items => [...items])
}

/** Null for what is not an item, such as the marker of the topic's epoch. */
function itemIdOf(key: Uint8Array | null): ItemId | null {
  if (key === null) return null
  try {
    return parseItemId(Buffer.from(key).toString())
  } catch {
    return null
  }
}
