import { setTimeout as delay } from 'node:timers/promises'
import type { Generation, ItemId, Offset, Partition, ReplicaId, TopicEpoch } from '../../schemas/ids.ts'
import { asPartition } from '../../schemas/ids.ts'
import type { CutReplica, ItemAtCut, ShardReplica } from '../../schemas/shard-api.ts'
import { Findings } from './certificate-findings.ts'
import type { Mismatch } from './cut-comparison.ts'
import { type PartitionProof, provePartition } from './partition-proof.ts'
import { ReplicaProgress, ReplicaTrouble, telling } from './replica-progress.ts'

export type CertifiableReplica = ShardReplica & CutReplica

export interface CertificateOptions {
  /** The generation that is believed. */
  readonly reference: Generation
  /** The one that is to hold the same. */
  readonly candidate: Generation
  /** Of the catalog. */
  readonly partitions: number
  readonly topicEpoch: TopicEpoch
  /** Of both generations, as known now; asked again and again. */
  readonly replicas: () => readonly CertifiableReplica[]
  /** Ends (exclusive) of the catalog's partitions now. */
  readonly catalogEnds: () => Promise<ReadonlyMap<Partition, { readonly end: Offset }>>
  readonly allowance: FailureAllowance
  /** Cuts of one partition at most: an item that is changing at each of them, and never seen the same, is unproven. */
  readonly maxCuts: number
  /**
   * A replica lags once its watermark has stood below the catalog's end for so long, or it could not be asked for so
   * long. Longer than image work is tried before it counts as failed, which holds the watermark.
   */
  readonly lagTimeoutMs: number
  readonly clock: () => number
  readonly signal: AbortSignal
  readonly onProgress: (progress: { readonly done: number; readonly total: number; readonly what: string }) => void
}

/** Items that may have failed on the candidate and not on the reference: the larger of the two. */
export interface FailureAllowance {
  readonly failedItems: number
  /** Of the reference's live items, 0 to 1. */
  readonly failedShare: number
}

/** The first of them, and how many there are. */
export interface Bounded<T> {
  readonly count: number
  readonly first: readonly T[]
}

/** A replica of the candidate beside one of the reference, in one partition. */
export interface Comparison {
  readonly partition: Partition
  readonly candidate: ReplicaId
  readonly reference: ReplicaId
  /** Offsets of the catalog at which both were cut. */
  readonly cuts: readonly Offset[]
  /** At the first of them. */
  readonly live: { readonly reference: number; readonly candidate: number }
  /** At least so many where more differs than was looked into. */
  readonly mismatches: number
  readonly isTruncated: boolean
  readonly unproven: number
}

export interface NamedMismatch {
  readonly partition: Partition
  /** Of the candidate. */
  readonly replica: ReplicaId
  readonly itemId: ItemId
  readonly kind: Mismatch['kind']
  readonly reference: ItemAtCut
  readonly candidate: ItemAtCut
}

/** What was found out about a generation beside another. Lists are cut off, counts are whole. Made to be kept as JSON. */
export interface Certificate {
  /** Every replica of the candidate holds, in every partition, the items of the reference at their versions and pictures. */
  readonly holds: boolean
  /** Why not, in words; empty when it holds. */
  readonly reasons: readonly string[]
  readonly reference: Generation
  readonly candidate: Generation
  readonly topicEpoch: TopicEpoch
  readonly startedAtMs: number
  readonly endedAtMs: number
  readonly partitions: number
  /** Live items, each partition at its first cut. */
  readonly live: { readonly reference: number; readonly candidate: number }
  readonly comparisons: readonly Comparison[]
  readonly mismatches: Bounded<NamedMismatch>
  readonly unproven: Bounded<{ readonly partition: Partition; readonly itemId: ItemId }>
  /** Live items without objects of their newest picture. */
  readonly failed: {
    readonly reference: Bounded<ItemId>
    readonly candidate: Bounded<ItemId>
    readonly onlyCandidate: Bounded<ItemId>
  }
  /** `allowed`: so many of `failed.onlyCandidate`. */
  readonly allowance: FailureAllowance & { readonly allowed: number }
  /** All that were asked; `trouble` says why one was given up. */
  readonly replicas: readonly {
    readonly replica: ReplicaId
    readonly generation: Generation
    readonly trouble: string | null
  }[]
}

/** Partitions under way at once; each holds a cut open on two replicas. */
const partitionsAtOnce = 4
const retryPauseMs = 250

/**
 * Proves every replica of the candidate against a replica of the reference, while events go on. What is wrong is the
 * verdict's to say: also a replica that lags, is gone or cannot be asked.
 * @throws FreshetError when nothing could be found out: the catalog does not tell its ends. The signal's reason once it
 * fires
 */
export async function certify(options: CertificateOptions): Promise<Certificate> {
  const { signal, partitions, onProgress, candidate, reference } = options
  const findings = new Findings(options)
  const certification = new Certification(options, findings)
  const waiting = Array.from({ length: partitions }, (_, number) => asPartition(number))
  let done = 0
  const tell = (): void => onProgress({ done, total: partitions, what: `partitions of ${candidate} like ${reference}` })
  tell()
  const takeTurns = async (): Promise<void> => {
    for (let partition = waiting.shift(); partition !== undefined; partition = waiting.shift()) {
      await certification.prove(partition)
      done++
      tell()
    }
  }
  const turns = Array.from({ length: partitionsAtOnce }, () =>
    takeTurns().catch(thrown => {
      waiting.length = 0
      throw thrown
    }),
  )
  const ends = await Promise.allSettled(turns)
  signal.throwIfAborted()
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return findings.certificate()
}

/** The proofs of one run, and which replicas were given up in it. */
class Certification {
  readonly #options: CertificateOptions
  readonly #findings: Findings
  readonly #progress: ReplicaProgress
  /** Since when calls to a replica fail, ms. */
  readonly #failingSinceMs = new Map<ReplicaId, number>()

  constructor(options: CertificateOptions, findings: Findings) {
    this.#options = options
    this.#findings = findings
    this.#progress = new ReplicaProgress(options)
  }

  /** One after the other: what they list is forgotten with the partition. */
  async prove(partition: Partition): Promise<void> {
    const { candidate, reference } = this.#options
    const candidates = this.#owners(candidate, partition)
    if (candidates.length === 0) this.#findings.lacking(partition, candidate)
    if (this.#owners(reference, partition).length === 0) this.#findings.lacking(partition, reference)
    for (const [turn, { replica }] of candidates.entries()) await this.#proveReplica(partition, replica, turn)
    this.#findings.endPartition(partition)
  }

  /** Until there is a proof, or no pair of replicas is left that could give it. */
  async #proveReplica(partition: Partition, replica: ReplicaId, turn: number): Promise<void> {
    const { signal } = this.#options
    while (!this.#findings.isGivenUp(replica)) {
      signal.throwIfAborted()
      const sides = this.#sides(partition, replica, turn)
      if (sides === null) return
      try {
        this.#findings.add(sides, await this.#proof(partition, sides))
        for (const side of [sides.reference, sides.candidate]) this.#failingSinceMs.delete(side.replica)
        return
      } catch (thrown) {
        signal.throwIfAborted()
        if (!(thrown instanceof ReplicaTrouble)) throw thrown
        this.#note(partition, thrown)
        await delay(retryPauseMs, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  #proof(partition: Partition, { reference, candidate }: Sides): Promise<PartitionProof> {
    const { maxCuts, topicEpoch: epoch } = this.#options
    const progress = this.#progress.of(partition, [reference, candidate])
    const sides = { reference: telling(reference), candidate: telling(candidate) }
    return provePartition(sides, { partition, epoch, progress, maxCuts })
  }

  /** Null, and told: a side is gone. */
  #sides(partition: Partition, replica: ReplicaId, turn: number): Sides | null {
    const { reference, candidate } = this.#options
    const found = this.#owners(candidate, partition).find(one => one.replica === replica)
    if (found === undefined) {
      this.#findings.giveUp({ replica, generation: candidate }, `replica ${replica} is gone`)
      return null
    }
    const believed = this.#owners(reference, partition).filter(one => !this.#findings.isGivenUp(one.replica))
    if (believed.length > 0) return { reference: believed[turn % believed.length]!, candidate: found }
    this.#findings.unasked(partition, reference)
    return null
  }

  #note(partition: Partition, { replica, error, isLag }: ReplicaTrouble): void {
    const { clock, lagTimeoutMs } = this.#options
    const sinceMs = this.#failingSinceMs.get(replica.replica) ?? clock()
    this.#failingSinceMs.set(replica.replica, sinceMs)
    const passes = error.retryable || error.code === 'cut-ended'
    if (!isLag && passes && clock() - sinceMs < lagTimeoutMs) return
    const why = isLag ? error.message : `cannot be asked about partition ${partition}: ${error.message}`
    this.#findings.giveUp(replica, `replica ${replica.replica} ${why}`)
  }

  /** In an order that does not depend on who was known first. */
  #owners(generation: Generation, partition: Partition): readonly CertifiableReplica[] {
    return this.#options
      .replicas()
      .filter(one => one.generation === generation && one.partitions.includes(partition))
      .sort((a, b) => (a.replica < b.replica ? -1 : 1))
  }
}

interface Sides {
  readonly reference: CertifiableReplica
  readonly candidate: CertifiableReplica
}
