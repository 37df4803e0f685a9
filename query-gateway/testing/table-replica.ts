import { FreshetError } from '../../schemas/errors.ts'
import {
  asOffset,
  asShardId,
  type Generation,
  type ItemId,
  type Offset,
  type Partition,
  type ReplicaId,
} from '../../schemas/ids.ts'
import type {
  ItemRegisters,
  ReplicaState,
  ReplicaStatus,
  SearchExplanation,
  ShardHit,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../../schemas/shard-api.ts'

export const nothing: ItemRegisters = {
  attributes: asOffset(-1),
  objects: asOffset(-1),
  removal: asOffset(-1),
  failure: asOffset(-1),
  failureDetail: null,
  searchable: false,
  objectList: [],
  snapshot: null,
  watermark: asOffset(-1),
  times: { attributesMs: null, objectsMs: null, removalMs: null, failureMs: null },
}

const explain: SearchExplanation = {
  kind: 'graph',
  selectivity: 1,
  effort: 40,
  segments: [{ rows: 6, by: 'graph', scored: 6 }],
}

interface TableReplicaOptions {
  readonly shard?: number
  readonly replica?: string
  readonly generation?: string
  readonly partitions: readonly Partition[]
}

/** A replica whose registers and hits a test writes down; stands at the gateway's edge, where the shard node is. */
export class TableReplica implements ShardReplica {
  readonly shard
  readonly replica
  readonly generation
  readonly partitions: readonly Partition[]
  readonly searches: ShardSearchRequest[] = []
  hits: readonly ShardHit[] = []
  state: ReplicaState = 'ready'
  indexAgeMs = 0
  /** What `search` does instead of answering. */
  trouble: FreshetError | 'hang' | null = null
  readonly #registers = new Map<ItemId, ItemRegisters>()
  readonly #vectors = new Map<string, Float32Array>()
  readonly #waiting = new Set<() => void>()

  constructor({ shard = 0, replica = `r${shard}`, generation = 'g1', partitions }: TableReplicaOptions) {
    this.shard = asShardId(shard)
    this.replica = replica as ReplicaId
    this.generation = generation as Generation
    this.partitions = partitions
  }

  set(
    itemId: ItemId,
    registers: Partial<Record<'attributes' | 'objects' | 'removal' | 'failure' | 'watermark', number>> &
      Partial<Omit<ItemRegisters, 'attributes' | 'objects' | 'removal' | 'failure' | 'watermark'>>,
  ): void {
    this.#registers.set(itemId, { ...nothing, ...(registers as Partial<ItemRegisters>) })
    for (const wake of [...this.#waiting]) wake()
  }

  setVector(itemId: ItemId, object: number, vector: Float32Array): void {
    this.#vectors.set(`${object}:${itemId}`, vector)
  }

  get waiting(): number {
    return this.#waiting.size
  }

  async search(request: ShardSearchRequest, _signal?: AbortSignal): Promise<ShardSearchResult> {
    this.searches.push(request)
    if (this.trouble === 'hang') return new Promise(() => undefined)
    if (this.trouble) throw this.trouble
    const allowed = this.hits.filter(({ itemId }) => itemId !== request.excludeItem)
    return {
      hits: allowed.slice(0, request.k),
      watermarks: Object.fromEntries(this.partitions.map(partition => [partition, asOffset(7)])),
      indexAgeMs: this.indexAgeMs,
      plan: request.exact ? 'exact' : 'graph',
      ...(request.explain ? { explain } : {}),
    }
  }

  async registers(itemId: ItemId): Promise<ItemRegisters> {
    if (this.state === 'stopped') throw new FreshetError('not-ready', 'stopped')
    return this.#registers.get(itemId) ?? nothing
  }

  async objectVector(itemId: ItemId, object: number): Promise<Float32Array | null> {
    return this.#vectors.get(`${object}:${itemId}`) ?? null
  }

  async changed(_itemId: ItemId, signal: AbortSignal): Promise<void> {
    await new Promise<void>(resolve => {
      const wake = (): void => {
        this.#waiting.delete(wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
  }

  async status(): Promise<ReplicaStatus> {
    if (this.state === 'stopped') throw new FreshetError('not-ready', 'stopped')
    const offsets = (offset: number): Record<string, Offset> =>
      Object.fromEntries(this.partitions.map(partition => [partition, asOffset(offset)]))
    const digest = { set: 'f'.repeat(32), objects: `${'0'.repeat(31)}1` }
    return {
      shard: this.shard,
      replica: this.replica,
      generation: this.generation,
      state: this.state,
      reason: null,
      applied: offsets(9),
      watermark: offsets(7),
      indexAgeMs: this.indexAgeMs,
      items: { searchable: 3, pending: 1, failed: 0, deleted: 2 },
      rows: 6,
      tombstones: 2,
      segments: 1,
      memoryBytes: 1024,
      digests: Object.fromEntries(this.partitions.map(partition => [partition, digest])),
      vectors: { dims: 4, count: 6, normMin: 1, normMax: 1, normMean: 1 },
      searchMs: {
        count: this.searches.length,
        sumMs: this.searches.length / 2,
        p50: 0.5,
        p99: 1,
        buckets: [{ upToMs: null, count: this.searches.length }],
      },
      checkpoint: { writtenAtMs: null, bytes: 0 },
      storage: {
        graphs: 1,
        scannedRows: 2,
        vectors: { memoryBytes: 768, diskBytes: 4096, memoryPerVector: 128 },
        items: { memoryBytes: 256, diskBytes: 512, memoryPerItem: 43 },
      },
      recall: { measured: 0.995, samples: 10, effort: 40, cpuMs: 25 },
    }
  }
}
