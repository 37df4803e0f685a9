import { expect } from 'vitest'
import { asPartition, type Partition } from '../../../schemas/ids.ts'
import type { AppendedRecord, EventLog, LogReader } from '../../event-log.ts'
import { textOf } from './kafka-fixture.ts'

/** Appends numbered records to all partitions as fast as they are acknowledged, and remembers where each one went. */
export class SteadyAppender {
  readonly acknowledged: { readonly value: string; readonly at: AppendedRecord }[] = []
  readonly #stopped: Promise<void>
  #isStopping = false

  constructor(log: EventLog, topic: string, partitions: number) {
    this.#stopped = this.#append(log, topic, partitions)
  }

  /** Resolves when the last append is acknowledged. @throws what an append threw */
  stop(): Promise<void> {
    this.#isStopping = true
    return this.#stopped
  }

  async #append(log: EventLog, topic: string, partitions: number): Promise<void> {
    for (let round = 0; !this.#isStopping; round++) {
      const values = Array.from({ length: 4 * partitions }, (_, i) => `${round}-${i}`)
      const appended = await log.append(
        topic,
        values.map((value, i) => ({ partition: asPartition(i % partitions), key: null, value: Buffer.from(value) })),
      )
      for (const [i, at] of appended.entries()) this.acknowledged.push({ value: values[i]!, at })
    }
  }
}

/** Reads from the start until the reader has reached the end of the log; values by partition and offset. */
export async function readWhole(reader: LogReader, log: EventLog, topic: string): Promise<ReadonlyMap<string, string>> {
  const values = new Map<string, string>()
  const ends = await log.offsets(topic)
  const isBehind = () => [...ends].some(([partition, { end }]) => reader.position(partition) < end)
  const next = new Map<Partition, number>()
  while (isBehind())
    for (const record of await reader.poll(1_000, 500)) {
      const { partition, offset } = record
      // In order and without repetition, whatever happens to brokers meanwhile.
      expect(offset).toBeGreaterThanOrEqual(next.get(partition) ?? 0)
      next.set(partition, offset + 1)
      values.set(`${partition}@${offset}`, textOf(record))
    }
  return values
}

/** Each acknowledged record lies where its acknowledgement said. Returns those that do not. */
export function lostOf(appender: SteadyAppender, values: ReadonlyMap<string, string>): readonly string[] {
  return appender.acknowledged
    .filter(({ value, at }) => values.get(`${at.partition}@${at.offset}`) !== value)
    .map(({ value }) => value)
}
