import type { BuildEstimate } from '../../../schemas/http-generations.ts'
import type { Generation } from '../../../schemas/ids.ts'
import type { ReplicaStatus } from '../../../schemas/shard-api.ts'

/** What embedding a picture takes. */
export interface ImageCost {
  /** Of one worker. */
  readonly msPerImage: number
  /** Pictures that are embedded at once. */
  readonly workers: number
  /** Workers are processes elsewhere, and so many are assumed. */
  readonly isAssumed: boolean
}

export interface EstimateInput {
  readonly dims: number
  /** The generation that has the queries: what it takes is what the new one will take. Null: there is none. */
  readonly like: {
    readonly generation: Generation
    readonly dims: number
    readonly shards: readonly ReplicaStatus[]
  } | null
  /** Null: nothing is embedded, the objects of another generation are copied. */
  readonly cost: ImageCost | null
  /** Of the pictures, 0 to 1, those whose vectors of this model are known already. */
  readonly knownShare: number
  /** Bound on the rebuild; 0: none. */
  readonly imagesPerSecond: number
  readonly diskFreeBytes: number | null
  readonly name: string
}

/** What building a generation takes, by what the one that has the queries takes now. */
export function estimateBuild(input: EstimateInput): BuildEstimate {
  const { dims, like, cost, knownShare, imagesPerSecond, diskFreeBytes } = input
  const shards = like?.shards ?? []
  const items = sum(shards, ({ items: { searchable, pending, failed } }) => searchable + pending + failed)
  const toEmbed = cost === null ? 0 : Math.round(items * (1 - knownShare))
  const scale = like === null ? 1 : dims / like.dims
  const vectorBytes = sum(shards, ({ storage }) => storage.vectors.diskBytes) * scale
  const itemBytes = sum(shards, ({ storage }) => storage.items.diskBytes)
  const atFullSpeedMs = cost === null ? 0 : (toEmbed * cost.msPerImage) / cost.workers
  // Of a copy the objects of an item count as a picture does.
  const bounded = cost === null ? items : toEmbed
  const atBoundMs = imagesPerSecond > 0 ? (bounded / imagesPerSecond) * 1_000 : 0
  return {
    items,
    toEmbed,
    msPerImage: cost?.msPerImage ?? null,
    measured: cost === null ? 'none' : 'trial',
    workers: cost?.workers ?? 0,
    durationMs: Math.max(atFullSpeedMs, atBoundMs),
    // Once in the shards, once in the mutation topic they are read from.
    diskBytes: Math.ceil(2 * (vectorBytes + itemBytes)),
    diskFreeBytes,
    memoryBytes: Math.ceil(
      sum(shards, ({ storage }) => storage.vectors.memoryBytes * scale + storage.items.memoryBytes),
    ),
    notes: notesOf(input),
  }
}

/** A copy has the model of its source: a new picture is embedded once for both. */
function notesOf({ like, cost, name, diskFreeBytes }: EstimateInput): readonly string[] {
  const disk = diskFreeBytes === null ? ['Free disk is unknown: the shards are on other machines.'] : []
  if (cost === null) return disk
  const more = `${Math.round(cost.msPerImage)} ms more for each`
  return [
    ...(like === null
      ? []
      : [`Until ${like.generation} or ${name} is retired, each new picture is embedded for both: ${more}.`]),
    'The processes of the model take memory besides.',
    ...(cost.isAssumed
      ? [`How many pictures all workers embed at once is unknown here: ${cost.workers} are assumed.`]
      : []),
    ...disk,
    'An item with several pictures counts as one: each further picture takes as long again.',
  ]
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0)
}
