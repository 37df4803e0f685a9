import { setTimeout as pause } from 'node:timers/promises'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { type Heartbeat, heartbeatRetentionMs } from '../../schemas/heartbeat.ts'
import { asOffset, asPartition, type Offset, type ReplicaId } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { heartbeatTopic } from '../../schemas/topics.ts'
import type { EventLog, LogReader, LogRecord } from '../../topologies/event-log.ts'
import { type HeardReplica, HeardReplicas } from './heard-replicas.ts'
import { RemoteReplica } from './remote-replica.ts'
import { ShardChannels } from './shard-channels.ts'
import type { RemoteReplicaSettings } from './shard-connection.ts'

export interface ReplicaDirectoryOptions {
  readonly log: Pick<EventLog, 'offsets' | 'openReader'>
  readonly codec: Pick<RecordCodec<Heartbeat>, 'decode' | 'learn'>
  readonly settings?: Partial<RemoteReplicaSettings>
  /** A replica that is silent for so long, and does not answer when it is asked, is dropped until it is heard again. */
  readonly dropAfterMs?: number
  /** What an operator must know: two processes of one name, heartbeats that cannot be read, a log that is away. */
  readonly onAlarm: (error: FreshetError) => void
  /** Monotonic ms. */
  readonly monotonicMs?: () => number
}

/** A replica that was heard of within the last hour, for the status. */
export interface DirectoryEntry {
  readonly heartbeat: Heartbeat
  readonly silentMs: number
  /** Why queries do not go there; null while they may. */
  readonly dropped: string | null
}

interface Listed {
  readonly life: string
  readonly remote: RemoteReplica
  /** When it was last seen to live by asking it; it is not asked again for a while. */
  answeredAtMs: number
  isBeingAsked: boolean
}

const heartbeatPartition = asPartition(0)
/** Records read at the start: of hundreds of replicas the last ten seconds. */
const lookBackRecords = 20_000
const recordsPerPoll = 1_000
const pollWaitMs = 250
const retryAfterMs = 500
const closingMs = 2_000

/**
 * The replicas of other processes, and the dispatchers, by their heartbeats in the log. While the log is away, or takes
 * no heartbeats, replicas that answer stay listed: queries do not depend on the log.
 */
export class ReplicaDirectory {
  readonly #options: ReplicaDirectoryOptions
  readonly #monotonicMs: () => number
  readonly #dropAfterMs: number
  readonly #channels: ShardChannels
  readonly #heard = new HeardReplicas()
  readonly #heardDispatchers = new HeardReplicas()
  readonly #listed = new Map<ReplicaId, Listed>()
  readonly #dropped = new Map<ReplicaId, string>()
  readonly #alarmed = new Set<string>()
  readonly #closing = new AbortController()
  #replicas: readonly RemoteReplica[] = []
  #following: Promise<void> = Promise.resolve()
  #next: Offset | null = null
  #isInTrouble = false

  private constructor(options: ReplicaDirectoryOptions) {
    this.#options = options
    this.#channels = new ShardChannels(options.settings)
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now())
    this.#dropAfterMs = options.dropAfterMs ?? 10_000
  }

  /** Resolves when what lay in the topic is read. @throws FreshetError `topic-missing` | `log-unavailable` */
  static async follow(options: ReplicaDirectoryOptions): Promise<ReplicaDirectory> {
    const directory = new ReplicaDirectory(options)
    const { end, reader } = await directory.#openReader()
    try {
      while (reader.position(heartbeatPartition) < end)
        await directory.#hearAll(await reader.poll(recordsPerPoll, pollWaitMs))
    } catch (thrown) {
      await reader.close()
      throw thrown
    }
    directory.#review()
    directory.#following = directory.#follow(reader)
    return directory
  }

  /** For `GatewayPorts.replicas`. */
  replicas(): readonly RemoteReplica[] {
    return this.#replicas
  }

  /** What dispatchers last said of themselves: those that are there and were heard of lately. */
  dispatchers(): readonly Heartbeat[] {
    const nowMs = this.#monotonicMs()
    return [...this.#heardDispatchers.all()]
      .filter(heard => this.#heardDispatchers.silentMs(heard, nowMs) <= this.#dropAfterMs)
      .map(({ heartbeat }) => heartbeat)
      .filter(({ state }) => state !== 'stopped')
  }

  entries(): readonly DirectoryEntry[] {
    const nowMs = this.#monotonicMs()
    return Array.from(this.#heard.all(), heard => ({
      heartbeat: heard.heartbeat,
      silentMs: this.#heard.silentMs(heard, nowMs),
      dropped: this.#dropped.get(heard.heartbeat.replica) ?? null,
    }))
  }

  /** Calls in hand are finished; a log that is away is not waited for. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.race([this.#following, pause(closingMs, undefined, { ref: false })])
    await Promise.all([...this.#listed.values()].map(({ remote }) => remote.close()))
  }

  /** Goes on where it was, unless that is no longer in the log. */
  async #openReader(): Promise<{ readonly end: number; readonly reader: LogReader }> {
    const { log } = this.#options
    const { start = 0, end = 0 } = (await log.offsets(heartbeatTopic)).get(heartbeatPartition) ?? {}
    const from = asOffset(Math.min(end, Math.max(start, this.#next ?? end - lookBackRecords)))
    const options = {
      topic: heartbeatTopic,
      partitions: [heartbeatPartition],
      from: new Map([[heartbeatPartition, from]]),
    }
    return { end, reader: await log.openReader(options) }
  }

  async #follow(first: LogReader): Promise<void> {
    let reader: LogReader | null = first
    while (!this.#closing.signal.aborted) {
      try {
        reader ??= (await this.#openReader()).reader
        await this.#hearAll(await reader.poll(recordsPerPoll, pollWaitMs))
        this.#isInTrouble = false
      } catch (thrown) {
        if (!this.#isInTrouble) this.#options.onAlarm(asFreshetError(thrown))
        this.#isInTrouble = true
        await reader?.close().catch(() => undefined)
        reader = null
        await pause(retryAfterMs, undefined, { signal: this.#closing.signal }).catch(() => undefined)
      }
      this.#review()
    }
    await reader?.close()
  }

  async #hearAll(records: readonly LogRecord[]): Promise<void> {
    for (const record of records) {
      const heartbeat = await this.#decode(record)
      this.#next = asOffset(record.offset + 1)
      if (heartbeat !== null) this.#hear(heartbeat, record.appendTimeMs)
    }
  }

  /** Null for what is no heartbeat. @throws FreshetError retryable ones of the registry */
  async #decode({ value, offset }: LogRecord): Promise<Heartbeat | null> {
    const { codec } = this.#options
    if (value === null) return null
    try {
      await codec.learn(value)
      const heartbeat = codec.decode(value)
      if (isOrigin(heartbeat.address)) return heartbeat
      throw new FreshetError('record-undecodable', `${heartbeat.replica} gives ${heartbeat.address} as its address`)
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.retryable) throw error
      this.#alarmOnce(
        `undecodable ${error.code}`,
        new FreshetError(error.code, `heartbeat ${offset}: ${error.message}`),
      )
      return null
    }
  }

  #hear(heartbeat: Heartbeat, appendTimeMs: number): void {
    const nowMs = this.#monotonicMs()
    if (heartbeat.role === 'dispatch') {
      this.#heardDispatchers.hear(heartbeat, appendTimeMs, nowMs)
      return
    }
    const hearing = this.#heard.hear(heartbeat, appendTimeMs, nowMs)
    const { replica, address, startedAtMs, state } = heartbeat
    if (hearing !== 'rival' || state === 'stopped') return
    const { heartbeat: held } = this.#heard.get(replica)!
    this.#alarmOnce(
      `rival ${replica} ${startedAtMs} ${address}`,
      new FreshetError(
        'config-invalid',
        `two processes call themselves ${replica}: ${address}, and ${held.address}, which began later and is used`,
      ),
    )
  }

  #alarmOnce(what: string, error: FreshetError): void {
    if (this.#alarmed.has(what)) return
    this.#alarmed.add(what)
    this.#options.onAlarm(error)
  }

  /** Lists, replaces and drops replicas by what is known now. */
  #review(): void {
    const nowMs = this.#monotonicMs()
    for (const heard of [...this.#heard.all()]) this.#reviewOne(heard, nowMs)
    for (const heard of [...this.#heardDispatchers.all()])
      if (this.#heardDispatchers.silentMs(heard, nowMs) > heartbeatRetentionMs)
        this.#heardDispatchers.forget(heard.heartbeat.replica)
  }

  #reviewOne(heard: HeardReplica, nowMs: number): void {
    const { heartbeat, life } = heard
    const { replica, state, indexAgeMs } = heartbeat
    const silentMs = this.#heard.silentMs(heard, nowMs)
    const isSilent = silentMs > this.#dropAfterMs
    const listed = this.#listed.get(replica)
    if (state === 'stopped') this.#drop(replica, 'it was stopped')
    else if (listed?.life === life) {
      listed.remote.reported = { state, indexAgeMs }
      if (isSilent && nowMs - listed.answeredAtMs > this.#dropAfterMs) this.#ask(listed)
    } else if (!isSilent) this.#list(heard)
    else if (!this.#dropped.has(replica)) this.#drop(replica, silence(silentMs))
    if (silentMs > heartbeatRetentionMs && !this.#listed.has(replica)) {
      this.#heard.forget(replica)
      this.#dropped.delete(replica)
    }
  }

  #list({ heartbeat, life }: HeardReplica): void {
    const { replica, state, indexAgeMs } = heartbeat
    this.#unlist(replica)
    this.#dropped.delete(replica)
    const identity = { ...heartbeat, reported: { state, indexAgeMs } }
    const remote = new RemoteReplica(identity, this.#options.settings, this.#channels)
    this.#listed.set(replica, { life, remote, answeredAtMs: Number.NEGATIVE_INFINITY, isBeingAsked: false })
    this.#replicas = Array.from(this.#listed.values(), ({ remote }) => remote)
  }

  #drop(replica: ReplicaId, why: string): void {
    this.#dropped.set(replica, why)
    this.#unlist(replica)
  }

  #unlist(replica: ReplicaId): void {
    const listed = this.#listed.get(replica)
    if (listed === undefined) return
    this.#listed.delete(replica)
    this.#replicas = this.#replicas.filter(remote => remote !== listed.remote)
    listed.remote.close().catch(thrown => this.#options.onAlarm(asFreshetError(thrown)))
  }

  /** Whether a silent replica lives: the log may be what is silent. */
  #ask(listed: Listed): void {
    if (listed.isBeingAsked) return
    listed.isBeingAsked = true
    const { remote } = listed
    remote.status().then(
      () => {
        listed.answeredAtMs = this.#monotonicMs()
        listed.isBeingAsked = false
      },
      thrown => this.#noteDead(listed, asFreshetError(thrown)),
    )
  }

  #noteDead(listed: Listed, error: FreshetError): void {
    listed.isBeingAsked = false
    const { replica } = listed.remote
    const heard = this.#heard.get(replica)
    if (heard === undefined || this.#listed.get(replica) !== listed) return
    const silentMs = this.#heard.silentMs(heard, this.#monotonicMs())
    if (silentMs > this.#dropAfterMs)
      this.#drop(replica, `${silence(silentMs)}, and it does not answer: ${error.message}`)
  }
}

function silence(silentMs: number): string {
  return `it was not heard of for ${(silentMs / 1000).toFixed(1)} s`
}

function isOrigin(address: string): boolean {
  const url = URL.canParse(address) ? new URL(address) : null
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return false
  return url.pathname === '/' && url.search === '' && url.hash === '' && url.username === ''
}
