import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker, Cluster } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import type { Offset, Partition } from '../../schemas/ids.ts'
import { forgetClosedConnection } from './cluster-access.ts'
import { asLogFailure, brokerErrorOf } from './kafka-failures.ts'

export interface GroupOffsetsOptions {
  readonly cluster: Cluster
  readonly group: string
  readonly topic: string
  readonly clock: () => number
  /** How long a commit waits for a coordinator. */
  readonly patienceMs: number
}

/** Who commits: a member in the generation of its assignment, or nobody's member. */
export interface Committer {
  readonly memberId: string
  readonly groupGeneration: number
}

/** A commit without membership: the coordinator takes it while the group has no members. */
export const outsideOfGroup: Committer = { memberId: '', groupGeneration: -1 }

const retryAfterMs = 200
/** The answer when the committer's assignment has ended, or ends just now. */
const fenced = new Set(['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID'])

/** Commits of one group, each under the generation that it belongs to, so that the coordinator refuses late ones. */
export class GroupOffsets {
  readonly #options: GroupOffsetsOptions
  readonly #closing = new AbortController()
  #coordinator: Promise<Broker> | null = null

  constructor(options: GroupOffsetsOptions) {
    this.#options = options
  }

  /** @returns whether it was taken; false when the committer's assignment has ended. */
  async commit(offsets: ReadonlyMap<Partition, Offset>, committer: Committer): Promise<boolean> {
    const { group, clock, patienceMs } = this.#options
    const deadlineMs = clock() + patienceMs
    for (;;) {
      try {
        await this.#send(offsets, committer)
        return true
      } catch (thrown) {
        if (fenced.has(brokerErrorOf(thrown) ?? '')) return this.#refused(committer)
        const failure = asLogFailure(thrown, `commit offsets of group ${group}`)
        if (!failure.retryable || clock() >= deadlineMs || this.#closing.signal.aborted) throw failure
        await this.#lookAnew(thrown)
      }
    }
  }

  close(): void {
    this.#closing.abort()
  }

  async #send(offsets: ReadonlyMap<Partition, Offset>, { memberId, groupGeneration }: Committer): Promise<void> {
    const { cluster, group, topic } = this.#options
    this.#coordinator ??= cluster.findGroupCoordinator({ groupId: group })
    const coordinator = await this.#coordinator
    const partitions = [...offsets].map(([partition, offset]) => ({ partition, offset: `${offset}` }))
    await coordinator.offsetCommit({
      groupId: group,
      groupGenerationId: groupGeneration,
      memberId,
      topics: [{ topic, partitions }],
    })
  }

  #refused(committer: Committer): boolean {
    if (committer !== outsideOfGroup) return false
    const { group } = this.#options
    throw new FreshetError(
      'bad-request',
      `group ${group} has members: a reader of fixed partitions cannot commit to it`,
    )
  }

  async #lookAnew(thrown: unknown): Promise<void> {
    this.#coordinator = null
    forgetClosedConnection(this.#options.cluster, thrown)
    await sleep(retryAfterMs, undefined, { signal: this.#closing.signal }).catch(() => undefined)
    await this.#options.cluster.refreshMetadata().catch(() => undefined)
  }
}
