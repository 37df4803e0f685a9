import { setTimeout as delay } from 'node:timers/promises'
import type { Consumer, Kafka } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, type Partition } from '../../schemas/ids.ts'
import { type KafkaLog, shortRetry } from './kafka-connection.ts'
import { asLogFailure } from './kafka-failures.ts'

export interface MembershipOptions {
  readonly kafka: Kafka
  readonly group: string
  readonly topic: string
  /** How long a member may be silent before the others get its partitions. */
  readonly sessionTimeoutMs: number
  readonly clock: () => number
  readonly log: KafkaLog | undefined
  /** Called at each rebalance, before the assignment can be used up by anything else. */
  readonly onAssigned: (assignment: GroupAssignment) => void
  /** A final error; this member does not come back. */
  readonly onFailure: (failure: FreshetError) => void
}

const heartbeatIntervalMs = 500
/** How often the idle loop of kafkajs comes round, and so how late a heartbeat may be. */
const idleWaitMs = 100
const firstRestartMs = 100
const maxRestartMs = 2_000
const leaveWithinMs = 1_000

/** What one rebalance gave this member. Kafka's own epoch of the group is the `groupGeneration`. */
export class GroupAssignment {
  readonly memberId: string
  readonly partitions: readonly Partition[]
  readonly #known = Promise.withResolvers<void>()
  #groupGeneration: number | null = null

  constructor(memberId: string, partitions: readonly Partition[]) {
    this.memberId = memberId
    this.partitions = partitions
  }

  /** Known from the first heartbeat on; null when the assignment ended before. */
  async groupGeneration(): Promise<number | null> {
    await this.#known.promise
    return this.#groupGeneration
  }

  heardGeneration(groupGeneration: number): void {
    this.#groupGeneration = groupGeneration
    this.#known.resolve()
  }

  end(): void {
    this.#groupGeneration = null
    this.#known.resolve()
  }
}

/**
 * A member of a consumer group, which kafkajs's consumer keeps: it joins, answers heartbeats and follows rebalances.
 * Everything is paused for it, so it never fetches and never touches an offset; a slow reader keeps no heartbeat
 * waiting, and a change of a partition's leader makes no rebalance.
 *
 * States: joining → assigned → joining (rebalance) | crashed → joining (a new consumer after a pause) | failed | closed.
 * kafkajs looks a coordinator up anew only after it has crashed, and some of its crashes are for good: so each crash
 * ends the consumer here, and the next one is ours.
 */
export class GroupMembership {
  readonly #options: MembershipOptions
  #consumer: Consumer | null = null
  #starting: Promise<void> = Promise.resolve()
  #assignment: GroupAssignment | null = null
  #restart: NodeJS.Timeout | null = null
  #restartMs = firstRestartMs
  #isClosed = false
  /** When the group's coordinator was heard last. */
  #heardMs: number
  #awaySinceMs: number | null = null

  constructor(options: MembershipOptions) {
    this.#options = options
    this.#heardMs = options.clock()
  }

  /**
   * Why this member may own nothing now, though it has not been told so: it is out of its group, or has not heard of
   * it for half the time after which the others get its partitions. Null while it is in. Known long before a call fails.
   */
  get absence(): FreshetError | null {
    const { group, sessionTimeoutMs, clock } = this.#options
    const silentMs = clock() - this.#heardMs
    if (this.#awaySinceMs === null && silentMs < sessionTimeoutMs / 2) return null
    return new FreshetError('log-unavailable', `out of the consumer group ${group}, not heard of for ${silentMs} ms`)
  }

  /** Since when this member is out of its group because of an error; null when it is in. */
  get awaySinceMs(): number | null {
    return this.#awaySinceMs
  }

  /** Returns at once: what comes of it is told by `onAssigned` and `onFailure`. */
  join(): void {
    const { kafka, group, topic, sessionTimeoutMs } = this.#options
    const consumer = kafka.consumer({
      groupId: group,
      allowAutoTopicCreation: false,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: sessionTimeoutMs,
      heartbeatInterval: Math.min(heartbeatIntervalMs, sessionTimeoutMs / 3),
      maxWaitTimeInMs: idleWaitMs,
      retry: { ...shortRetry, restartOnFailure: async () => false },
    })
    this.#consumer = consumer
    consumer.on(consumer.events.GROUP_JOIN, ({ payload: { memberId, memberAssignment } }) => {
      consumer.pause([{ topic }])
      this.#assigned(
        new GroupAssignment(memberId, (memberAssignment[topic] ?? []).map(asPartition).toSorted(ascending)),
      )
    })
    consumer.on(consumer.events.HEARTBEAT, ({ payload: { memberId, groupGenerationId } }) => {
      if (memberId !== this.#assignment?.memberId) return
      this.#heardMs = this.#options.clock()
      this.#assignment.heardGeneration(groupGenerationId)
    })
    consumer.on(consumer.events.CRASH, ({ payload: { error } }) => this.#crashed(consumer, error))
    this.#starting = this.#run(consumer).catch((error: unknown) => this.#crashed(consumer, error))
  }

  /**
   * Leaves the group, so that the others get the partitions at once. While the group is still being joined, which may
   * take as long as a silent member has, it goes on in the background after a second: there is nothing to leave yet.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    this.#assignment?.end()
    // kafkajs would join behind our back after a disconnect that comes while it starts.
    const left = this.#starting.then(() => this.#consumer?.disconnect())
    await Promise.race([left, delay(leaveWithinMs, undefined, { ref: false })])
  }

  async #run(consumer: Consumer): Promise<void> {
    await consumer.connect()
    await consumer.subscribe({ topic: this.#options.topic })
    if (this.#isClosed) return
    await consumer.run({ autoCommit: false, eachBatch: async () => undefined })
  }

  #assigned(assignment: GroupAssignment): void {
    this.#assignment?.end()
    this.#assignment = assignment
    this.#restartMs = firstRestartMs
    this.#heardMs = this.#options.clock()
    this.#awaySinceMs = null
    this.#options.onAssigned(assignment)
  }

  #crashed(consumer: Consumer, error: unknown): void {
    if (this.#isClosed || this.#consumer !== consumer) return
    const { group, topic, clock, log, onFailure } = this.#options
    const failure = asLogFailure(error, `group ${group} of ${topic}`)
    this.#consumer = null
    this.#awaySinceMs ??= clock()
    log?.warn({ group, topic, code: failure.code, error: failure.message }, 'out of the consumer group')
    // A consumer that did not get as far as to crash has its connections still.
    void consumer.disconnect().catch(() => undefined)
    if (failure.retryable || failure.code === 'topic-missing') {
      this.#restart = setTimeout(() => this.join(), this.#restartMs)
      this.#restartMs = Math.min(maxRestartMs, 2 * this.#restartMs)
    } else onFailure(failure)
  }
}

const ascending = (a: Partition, b: Partition): number => a - b
