import kafkajs, { type Admin, type Kafka } from 'kafkajs'
import { expect, vi } from 'vitest'
import { asPartition, type Partition } from '../../../schemas/ids.ts'
import type { LogReader, LogRecord, NewRecord, TopicSpec } from '../../event-log.ts'
import { KafkaEventLog, type KafkaEventLogOptions } from '../kafka-event-log.ts'

const patienceMs = 60_000

/** A log, a plain client beside it, and a topic name of this test's own. */
export class KafkaFixture {
  readonly topic = `test-${crypto.randomUUID()}`
  readonly kafka: Kafka
  readonly log: KafkaEventLog
  readonly #brokers: readonly string[]
  readonly #logs: KafkaEventLog[] = []
  readonly #closing: (() => Promise<void>)[] = []

  constructor(brokers: readonly string[], options: Partial<KafkaEventLogOptions> = {}) {
    this.#brokers = brokers
    this.kafka = new kafkajs.Kafka({ clientId: 'plain', brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })
    this.log = this.openLog(options)
  }

  openLog(options: Partial<KafkaEventLogOptions> = {}): KafkaEventLog {
    const log = new KafkaEventLog({ brokers: this.#brokers, clientId: 'test', ...options })
    this.#logs.push(log)
    return log
  }

  async admin(): Promise<Admin> {
    const admin = this.kafka.admin()
    await admin.connect()
    this.#closing.push(() => admin.disconnect())
    return admin
  }

  async createTopic(partitions: number, spec: Partial<TopicSpec> = {}): Promise<void> {
    await this.log.ensureTopic({
      name: this.topic,
      partitions,
      compacted: false,
      retentionMs: null,
      minCompactionLagMs: 0,
      tombstoneRetentionMs: 0,
      ...spec,
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.#logs.map(log => log.close()))
    await Promise.all(this.#closing.map(close => close()))
  }
}

export const p = (index: number): Partition => asPartition(index)

export function record(partition: Partition, value: string, key = `key of ${value}`): NewRecord {
  return { partition, key: Buffer.from(key), value: Buffer.from(value) }
}

export const textOf = ({ value }: LogRecord): string => Buffer.from(value!).toString()

/** Polls until so many records came; empty polls in between are allowed. */
export async function pollCount(reader: LogReader, count: number): Promise<readonly LogRecord[]> {
  const records: LogRecord[] = []
  const deadlineMs = performance.now() + patienceMs
  while (records.length < count) {
    if (performance.now() > deadlineMs) throw new Error(`${records.length} of ${count} records came`)
    records.push(...(await reader.poll(count - records.length, 1_000)))
  }
  return records
}

/** Waits for a condition that servers bring about. */
export function eventually(assertion: () => Promise<void> | void): Promise<void> {
  return vi.waitFor(assertion, { timeout: patienceMs, interval: 100 })
}

/** Polls, delivering nothing, until the reader has a later epoch. */
export async function untilReassigned(reader: LogReader): Promise<void> {
  const { epoch } = reader.assignment()
  await eventually(async () => {
    expect(await reader.poll(1, 0)).toEqual([])
    expect(reader.assignment().epoch).toBeGreaterThan(epoch)
  })
}
