import { asFreshetError, FreshetError } from '../../../schemas/errors.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import type { Generation, ItemId } from '../../../schemas/ids.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import type { ItemRegisters, ReplicaStatus, ShardReplica } from '../../../schemas/shard-api.ts'
import type { AskedGeneration, CanaryPorts, CanaryQuestion } from './canary-ports.ts'

/** How a generation's replicas are. */
export interface Standing {
  readonly coveredShare: number
  readonly readyShare: number
  readonly indexAgeMs: number | null
  readonly searchable: number
  readonly failedShare: number | null
}

/** Reasons by which an answer is not whole; that nothing is known of clicks is none. */
const lacking: ReadonlySet<string> = new Set(['shard-timeout', 'shard-failed', 'shard-not-ready'])

/** The item went while questions about it were on their way; whether it is missed is found out otherwise. */
const gone: ReadonlySet<string> = new Set(['item-not-found', 'object-not-found'])

/** One of the two generations: asks it, and counts how that went. */
export class CanarySide {
  readonly generation: Generation
  readonly asked: AskedGeneration
  readonly #ports: CanaryPorts
  readonly #signal: AbortSignal
  /** Questions, those that got an error, answers that lacked a shard. */
  questions = 0
  failed = 0
  degraded = 0
  firstFailure: FreshetError | null = null

  /** @throws FreshetError `not-ready` when there is no such generation, or nobody holds it */
  constructor(generation: Generation, ports: CanaryPorts, signal: AbortSignal) {
    const asked = ports.generation(generation)
    if (asked === undefined) throw new FreshetError('not-ready', `there is no generation ${generation}`)
    this.generation = generation
    this.asked = asked
    this.#ports = ports
    this.#signal = signal
    if (this.replicas().length === 0)
      throw new FreshetError('not-ready', `no replica of generation ${generation} is known`)
  }

  replicas(): readonly ShardReplica[] {
    return this.#ports.replicas().filter(({ generation }) => generation === this.generation)
  }

  /** Null: it got an error, which is counted, or the item of the question is gone. @throws the signal's reason */
  async search(question: CanaryQuestion): Promise<SearchAnswer | null> {
    this.#signal.throwIfAborted()
    this.questions++
    try {
      const pinned = { rerank: false, ...question, generation: this.generation, collapse: false }
      const answer = await this.#ports.search(pinned, this.#signal)
      if (answer.degraded.some(reason => lacking.has(reason))) this.degraded++
      return answer
    } catch (thrown) {
      this.#signal.throwIfAborted()
      const failure = asFreshetError(thrown)
      if (gone.has(failure.code)) return null
      this.failed++
      this.firstFailure ??= failure
      return null
    }
  }

  /** Null when no replica of its partition answers. */
  registers(itemId: ItemId): Promise<ItemRegisters | null> {
    return this.#ofOwner(itemId, replica => replica.registers(itemId))
  }

  /** The vector of its first object. */
  vector(itemId: ItemId): Promise<Float32Array | null> {
    return this.#ofOwner(itemId, replica => replica.objectVector(itemId, 0))
  }

  async #ofOwner<T>(itemId: ItemId, ask: (replica: ShardReplica) => Promise<T>): Promise<T | null> {
    this.#signal.throwIfAborted()
    const partition = partitionOf(itemId, this.#ports.partitions)
    for (const replica of this.replicas().filter(({ partitions }) => partitions.includes(partition))) {
      const answer = await ask(replica).catch(() => undefined)
      if (answer !== undefined) return answer
    }
    return null
  }

  /** Replicas that do not answer are not ready. */
  async standing(): Promise<{ readonly standing: Standing; readonly ready: readonly ShardReplica[] }> {
    const replicas = this.replicas()
    const statuses = await Promise.all(replicas.map(replica => replica.status().catch(() => null)))
    const ready = replicas.filter((_, i) => statuses[i]?.state === 'ready')
    const first = new Map(ready.map(replica => [replica.shard, statuses[replicas.indexOf(replica)]!]))
    return { standing: standingOf(this.asked.shards, statuses, [...first.values()]), ready }
  }
}

/** `oneEach`: the status of one ready replica of each shard that has one. */
function standingOf(
  shards: number,
  all: readonly (ReplicaStatus | null)[],
  oneEach: readonly ReplicaStatus[],
): Standing {
  const ready = all.filter(status => status?.state === 'ready')
  const sum = (of: (status: ReplicaStatus) => number): number => oneEach.reduce((total, one) => total + of(one), 0)
  const searchable = sum(({ items }) => items.searchable)
  const failed = sum(({ items }) => items.failed)
  const known = searchable + sum(({ items }) => items.pending) + failed
  return {
    coveredShare: oneEach.length / shards,
    readyShare: ready.length / all.length,
    indexAgeMs: ready.length === 0 ? null : Math.max(...ready.map(status => status!.indexAgeMs)),
    searchable,
    failedShare: known === 0 ? null : failed / known,
  }
}
