import type { Generation, ItemId, Partition, ReplicaId } from '../../schemas/ids.ts'
import type { Bounded, Certificate, CertificateOptions, Comparison, NamedMismatch } from './certificate.ts'
import type { PartitionProof } from './partition-proof.ts'

/** Entries of a list of a certificate; of its reasons too, since it names what it counts. */
const listed = 100

interface Given {
  readonly replica: ReplicaId
  readonly generation: Generation
}

interface FailedItems {
  readonly reference: ReadonlySet<ItemId>
  readonly candidate: ReadonlySet<ItemId>
  readonly onlyCandidate: ReadonlySet<ItemId>
}

/** What the proofs of a certificate have found so far: counts, and the first of each list. */
export class Findings {
  readonly #options: CertificateOptions
  readonly #startedAtMs: number
  readonly #comparisons: Comparison[] = []
  readonly #live = { reference: 0, candidate: 0 }
  readonly #mismatches = new List<NamedMismatch>()
  readonly #unproven = new List<{ readonly partition: Partition; readonly itemId: ItemId }>()
  readonly #failed = { reference: new List<ItemId>(), candidate: new List<ItemId>(), onlyCandidate: new List<ItemId>() }
  /** Of the partitions under way: a partition's replicas tell the same items. */
  readonly #failedOf = new Map<Partition, { [Side in keyof FailedItems]: Set<ItemId> }>()
  readonly #replicas = new Map<ReplicaId, { readonly generation: Generation; trouble: string | null }>()
  /** Why there is no proof. */
  readonly #troubles = new Set<string>()

  constructor(options: CertificateOptions) {
    this.#options = options
    this.#startedAtMs = options.clock()
  }

  add(sides: { readonly reference: Given; readonly candidate: Given }, proof: PartitionProof): void {
    const { partition, cuts, live, mismatches, isTruncated, unproven, failed } = proof
    for (const { replica, generation } of [sides.reference, sides.candidate])
      if (!this.#replicas.has(replica)) this.#replicas.set(replica, { generation, trouble: null })
    const isFirst = !this.#comparisons.some(one => one.partition === partition)
    if (isFirst) for (const side of ['reference', 'candidate'] as const) this.#live[side] += live[side]
    const { replica } = sides.candidate
    this.#comparisons.push({
      partition,
      candidate: replica,
      reference: sides.reference.replica,
      cuts,
      live,
      mismatches: mismatches.length,
      isTruncated,
      unproven: unproven.length,
    })
    this.#mismatches.add(mismatches.map(mismatch => ({ partition, replica, ...mismatch })))
    this.#unproven.add(unproven.map(itemId => ({ partition, itemId })))
    const onReference = new Set(failed.reference)
    this.#noteFailed(partition, {
      reference: onReference,
      candidate: new Set(failed.candidate),
      onlyCandidate: new Set(failed.candidate.filter(itemId => !onReference.has(itemId))),
    })
  }

  #noteFailed(partition: Partition, failed: FailedItems): void {
    const known = this.#failedOf.get(partition) ?? {
      reference: new Set(),
      candidate: new Set(),
      onlyCandidate: new Set(),
    }
    for (const side of ['reference', 'candidate', 'onlyCandidate'] as const)
      for (const itemId of failed[side]) known[side].add(itemId)
    this.#failedOf.set(partition, known)
  }

  /** Nothing more is found out about the partition. */
  endPartition(partition: Partition): void {
    const failed = this.#failedOf.get(partition)
    this.#failedOf.delete(partition)
    if (failed === undefined) return
    for (const side of ['reference', 'candidate', 'onlyCandidate'] as const) this.#failed[side].add([...failed[side]])
  }

  /** Its other partitions that are under way then have nothing to add. */
  giveUp({ replica, generation }: Given, why: string): void {
    if (this.isGivenUp(replica)) return
    this.#replicas.set(replica, { generation, trouble: why })
    this.#troubles.add(why)
  }

  isGivenUp(replica: ReplicaId): boolean {
    return (this.#replicas.get(replica)?.trouble ?? null) !== null
  }

  lacking(partition: Partition, generation: Generation): void {
    this.#troubles.add(`partition ${partition}: no replica of ${generation} is known`)
  }

  unasked(partition: Partition, generation: Generation): void {
    this.#troubles.add(`partition ${partition}: no replica of ${generation} is left to be compared with`)
  }

  certificate(): Certificate {
    const { reference, candidate, topicEpoch, partitions, allowance, clock } = this.#options
    const byShare = Math.floor(allowance.failedShare * this.#live.reference)
    const allowed = Math.max(allowance.failedItems, byShare)
    const reasons = this.#reasons(allowed)
    return {
      holds: reasons.length === 0,
      reasons,
      reference,
      candidate,
      topicEpoch,
      startedAtMs: this.#startedAtMs,
      endedAtMs: clock(),
      partitions,
      live: { ...this.#live },
      comparisons: [...this.#comparisons].sort((a, b) => a.partition - b.partition),
      mismatches: this.#mismatches.bounded(),
      unproven: this.#unproven.bounded(),
      failed: {
        reference: this.#failed.reference.bounded(),
        candidate: this.#failed.candidate.bounded(),
        onlyCandidate: this.#failed.onlyCandidate.bounded(),
      },
      allowance: { ...allowance, allowed },
      replicas: Array.from(this.#replicas, ([replica, about]) => ({ replica, ...about })),
    }
  }

  #reasons(allowed: number): readonly string[] {
    const { reference, candidate, maxCuts } = this.#options
    const reasons = [...this.#troubles]
    const mismatches = this.#mismatches.bounded()
    for (const mismatch of mismatches.first) reasons.push(reasonOf(mismatch, { reference, candidate }))
    const unnamed = mismatches.count - mismatches.first.length
    if (unnamed > 0) reasons.push(`${unnamed} items more differ`)
    const truncated = this.#comparisons.filter(({ isTruncated }) => isTruncated).map(one => one.partition)
    if (truncated.length > 0) reasons.push(`more differs in partitions ${[...new Set(truncated)].join(', ')}`)
    const unproven = this.#unproven.bounded()
    for (const { partition, itemId } of unproven.first)
      reasons.push(`partition ${partition}: item ${itemId} was changing at each of ${maxCuts} cuts, and never the same`)
    if (unproven.count > unproven.first.length)
      reasons.push(`${unproven.count - unproven.first.length} items more were never the same`)
    const failed = this.#failed.onlyCandidate.bounded().count
    if (failed > allowed)
      reasons.push(`${failed} items failed in ${candidate} that did not fail in ${reference}, ${allowed} are allowed`)
    return reasons
  }
}

function reasonOf(
  { partition, replica, itemId, kind, ...sides }: NamedMismatch,
  { reference, candidate }: { readonly reference: Generation; readonly candidate: Generation },
): string {
  const item = `partition ${partition}: item ${itemId}`
  const where = `${candidate} (replica ${replica})`
  switch (kind) {
    case 'missing':
      return `${item} is missing in ${where}`
    case 'unexpected':
      return `${item} is live in ${where} and not in ${reference}`
    case 'version':
      return `${item} has version ${sides.candidate.attributes} in ${where}, ${sides.reference.attributes} in ${reference}`
    case 'objects':
      return sides.candidate.objects === null
        ? `${item} has no objects in ${where}`
        : `${item} has objects of another picture in ${where} than in ${reference}`
  }
}

/** The first entries, and how many there are. */
class List<T> {
  readonly #first: T[] = []
  #count = 0

  add(entries: readonly T[]): void {
    this.#count += entries.length
    for (const entry of entries.slice(0, Math.max(0, listed - this.#first.length))) this.#first.push(entry)
  }

  bounded(): Bounded<T> {
    return { count: this.#count, first: [...this.#first] }
  }
}
