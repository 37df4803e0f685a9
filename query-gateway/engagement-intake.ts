import { createHmac } from 'node:crypto'
import type { Counter, Meter } from '@opentelemetry/api'
import type { EngagementRecord, ResultsShown } from '../schemas/engagement.ts'
import type { Engagement } from '../schemas/http-items.ts'
import { parseItemId } from '../schemas/ids.ts'
import { engagementPartition, queryIdOfSession } from '../schemas/item-engagement.ts'
import { engagementTopic } from '../schemas/topics.ts'
import type { NewRecord } from '../topologies/event-log.ts'
import type { GatewayPorts } from './ports.ts'

type IntakePorts = Pick<GatewayPorts, 'log' | 'engagementCodec' | 'partitions' | 'clock' | 'newId'>

export interface EngagementIntakeOptions {
  /** Sessions are hashed with it before anything of them leaves the gateway. */
  readonly sessionSalt: string
  readonly meter: Meter
}

/** Answers gathered into one append. */
const gatherMs = 25
/** Answers waiting to be written; those beyond are not recorded. */
const maxWaiting = 5_000
const hashDigits = 32

/**
 * What users saw and what they did, on its way to `freshet.engagement`. What was shown is written by the gateway itself,
 * for queries that name a session: a caller could claim that anything was. It is written beside the answer, which never
 * waits for it; under pressure, or while the log is away, some of it is not recorded, and then what is reported of that
 * query does not count either. What was done is durable when it is acknowledged.
 */
export class EngagementIntake {
  readonly #ports: IntakePorts
  readonly #salt: string
  readonly #shown: Counter
  #waiting: NewRecord[] = []
  #writing: Promise<void> | null = null

  constructor(ports: IntakePorts, { sessionSalt, meter }: EngagementIntakeOptions) {
    this.#ports = ports
    this.#salt = sessionSalt
    this.#shown = meter.createCounter('freshet.engagement.shown', {
      description: 'Answers shown to sessions, by outcome: recorded, lost.',
    })
  }

  /** Keyed hash of a session, which nobody without the salt can trace back; empty without one. */
  hashOf(session: string | undefined): string {
    if (session === undefined) return ''
    return createHmac('sha256', this.#salt).update(session).digest('hex').slice(0, hashDigits)
  }

  /** A new query's id. */
  queryId(sessionHash: string): string {
    return queryIdOfSession(this.#ports.newId(), sessionHash)
  }

  /** Records an answer in the background. */
  noteShown(shown: Omit<ResultsShown, 'type' | 'atMs'>): void {
    if (shown.session === '' || shown.itemIds.length === 0) return
    if (this.#waiting.length >= maxWaiting) {
      this.#shown.add(1, { outcome: 'lost' })
      return
    }
    this.#waiting.push(this.#recordOf({ type: 'ResultsShown', ...shown, atMs: this.#ports.clock() }))
    this.#writing ??= this.#write()
  }

  /** Resolves when all are durable. @throws FreshetError `bad-item-id`; log codes */
  async report(engagements: readonly Engagement[]): Promise<void> {
    const atMs = this.#ports.clock()
    const records = engagements.map(engagement =>
      this.#recordOf({ type: 'Engaged', ...engagement, itemId: parseItemId(engagement.itemId), atMs }),
    )
    await this.#ports.log.append(engagementTopic, records)
  }

  /** Writes what waits. */
  async close(): Promise<void> {
    await this.#writing
  }

  #recordOf(record: EngagementRecord): NewRecord {
    const { queryId } = record
    return {
      partition: engagementPartition(queryId, this.#ports.partitions),
      key: Buffer.from(queryId),
      value: this.#ports.engagementCodec.encode(record),
    }
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      await new Promise(resolve => setTimeout(resolve, gatherMs))
      const records = this.#waiting
      this.#waiting = []
      try {
        await this.#ports.log.append(engagementTopic, records)
        this.#shown.add(records.length, { outcome: 'recorded' })
      } catch {
        // The log is away; its own alarms say so. What a query showed is not worth keeping a backlog for.
        this.#shown.add(records.length, { outcome: 'lost' })
      }
    }
    this.#writing = null
  }
}
