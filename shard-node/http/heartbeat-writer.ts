import { setTimeout as pause } from 'node:timers/promises'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import { type Heartbeat, heartbeatEveryMs } from '../../schemas/heartbeat.ts'
import { asPartition, type ReplicaId } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import type { ReplicaState, ReplicaStatus, ShardReplica } from '../../schemas/shard-api.ts'
import { heartbeatTopic } from '../../schemas/topics.ts'
import type { EventLog } from '../../topologies/event-log.ts'

/** A replica of this process; `ShardNode` fits. */
export type BeatingReplica = Pick<ShardReplica, 'replica' | 'partitions'> & {
  readonly state: ReplicaState
  status(): Promise<BeatingStatus>
}
type BeatingStatus = Pick<ReplicaStatus, 'shard' | 'generation' | 'state' | 'applied' | 'watermark' | 'indexAgeMs'>

export interface HeartbeatWriterOptions {
  readonly log: Pick<EventLog, 'append'>
  readonly codec: Pick<RecordCodec<Heartbeat>, 'encode'>
  /** Of the process; default `shard`. */
  readonly role?: Heartbeat['role']
  /** The replicas of this process, or what of it speaks like one; asked anew each time. */
  readonly replicas: () => readonly BeatingReplica[]
  /** Origin under which gateways reach this process. */
  readonly address: string
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Called once when heartbeats do not get into the log, until they do again. Gateways keep replicas that answer. */
  readonly onTrouble: (error: FreshetError) => void
  readonly everyMs?: number
}

/** How often it is looked whether a replica changed its state. */
const lookEveryMs = 50
/** How long `stop` waits for a log that does not answer. */
const lastWordsMs = 2_000

/**
 * Tells gateways through the log, once a second and at each change of state, which replicas this process has, where,
 * and how they are. One write at a time: while the log takes none, nothing piles up.
 */
export class HeartbeatWriter {
  readonly #options: HeartbeatWriterOptions
  readonly #startedAtMs: number
  /** What was said last. */
  #said: ReadonlyMap<ReplicaId, Heartbeat> = new Map()
  #sequence = 0
  #nextAt = 0
  #timer: NodeJS.Timeout | null = null
  #writing: Promise<void> | null = null
  #isInTrouble = false

  constructor(options: HeartbeatWriterOptions) {
    this.#options = options
    this.#startedAtMs = options.clock()
  }

  start(): void {
    this.#look()
    this.#timer = setInterval(() => this.#look(), lookEveryMs).unref()
  }

  /** Says `stopped` of every replica, or gives up when the log does not take it. Call it before anything is closed. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    const lastWords = async (): Promise<void> => {
      await this.#writing
      await this.#write(async () => [...this.#said.values()].map(last => this.#stopped(last)))
    }
    await Promise.race([lastWords(), pause(lastWordsMs, undefined, { ref: false })])
  }

  #look(): void {
    if (this.#writing !== null) return
    const replicas = this.#options.replicas()
    const hasChanged =
      replicas.length !== this.#said.size ||
      replicas.some(({ replica, state }) => this.#said.get(replica)?.state !== state)
    const now = performance.now()
    if (!hasChanged && now < this.#nextAt) return
    this.#nextAt = now + (this.#options.everyMs ?? heartbeatEveryMs)
    this.#writing = this.#write(() => this.#heartbeats(replicas)).finally(() => {
      this.#writing = null
    })
  }

  /** Of all replicas, and the last one of those that this process has no longer. */
  async #heartbeats(replicas: readonly BeatingReplica[]): Promise<readonly Heartbeat[]> {
    const present = await Promise.all(replicas.map(replica => this.#heartbeatOf(replica)))
    const saying = new Map(present.map(heartbeat => [heartbeat.replica, heartbeat]))
    const gone = [...this.#said.values()].filter(({ replica }) => !saying.has(replica))
    this.#said = saying
    return [...present, ...gone.map(last => this.#stopped(last))]
  }

  async #heartbeatOf(replica: BeatingReplica): Promise<Heartbeat> {
    const { shard, generation, state, applied, watermark, indexAgeMs } = await replica.status()
    return {
      type: 'Heartbeat',
      role: this.#options.role ?? 'shard',
      replica: replica.replica,
      shard,
      generation,
      address: this.#options.address,
      partitions: replica.partitions,
      state,
      applied,
      watermarks: watermark,
      indexAgeMs,
      startedAtMs: this.#startedAtMs,
      sequence: this.#sequence++,
      writtenAtMs: this.#options.clock(),
    }
  }

  #stopped(last: Heartbeat): Heartbeat {
    return { ...last, state: 'stopped', sequence: this.#sequence++, writtenAtMs: this.#options.clock() }
  }

  /** Never fails: a replica without a log goes on answering. */
  async #write(say: () => Promise<readonly Heartbeat[]>): Promise<void> {
    const { log, codec, onTrouble } = this.#options
    try {
      const records = (await say()).map(heartbeat => ({
        partition: asPartition(0),
        key: Buffer.from(heartbeat.replica),
        value: codec.encode(heartbeat),
      }))
      if (records.length > 0) await log.append(heartbeatTopic, records)
      this.#isInTrouble = false
    } catch (thrown) {
      if (!this.#isInTrouble) onTrouble(asFreshetError(thrown))
      this.#isInTrouble = true
    }
  }
}
