import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Codecs, openCodecs, registerSchemas } from '../../../../schemas/avro/codec.ts'
import { FreshetError } from '../../../../schemas/errors.ts'
import {
  asOffset,
  asPartition,
  asShardId,
  type Fingerprint,
  type Generation,
  type ItemId,
  type Offset,
  type Partition,
  type ReplicaId,
  type TopicEpoch,
} from '../../../../schemas/ids.ts'
import { digestBuckets } from '../../../../schemas/partition-digest.ts'
import type { CutTaken, ItemAtCut, ReplicaState, ReplicaStatus } from '../../../../schemas/shard-api.ts'
import { MemorySchemaDirectory } from '../../../../schemas/testing/memory-schema-directory.ts'
import { catalogTopic, controlTopic } from '../../../../schemas/topics.ts'
import { ControlLog } from '../../../control/control-log.ts'
import { ensureFirstGeneration } from '../../../control/first-generation.ts'
import { EmbeddedEventLog } from '../../../embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../../embedded/environment.ts'
import type { CanaryReport } from '../../canary/canary-gate.ts'
import type { CertifiableReplica } from '../../certificate.ts'
import type { DeskOptions, DeskPorts } from '../desk-ports.ts'
import { OperatorDesk } from '../operator-desk.ts'

export const partitions = 2
export const topicEpoch = '00000000000000aa' as TopicEpoch
const all: readonly Partition[] = [asPartition(0), asPartition(1)]
const nothingSummed = Array.from({ length: digestBuckets }, () => '0'.repeat(32))
const models = {
  v1: { model: 'v1', fingerprint: 'a'.repeat(64) as Fingerprint, dims: 256, manifest: '{}' },
  v2: { model: 'v2', fingerprint: 'b'.repeat(64) as Fingerprint, dims: 512, manifest: '{}' },
}

const asked = (): never => {
  throw new FreshetError('internal', 'the desk searches nothing')
}

/** A replica whose answers a test writes down; stands at the desk's edge, where the shard node is. */
export class StandingReplica implements CertifiableReplica {
  readonly shard = asShardId(0)
  readonly replica: ReplicaId
  readonly generation: Generation
  readonly partitions = all
  readonly search = asked
  readonly registers = asked
  readonly objectVector = asked
  readonly changed = asked
  state: ReplicaState = 'ready'
  watermark = 4
  indexAgeMs = 0
  /** Items that its cuts tell as failed. */
  failed: readonly string[] = []
  /** Before it answers how it is. */
  onStatus: () => Promise<void> = async () => {}
  onCut: () => Promise<void> = async () => {}

  constructor(generation: string) {
    this.generation = generation as Generation
    this.replica = `${generation}-0-a` as ReplicaId
  }

  async status(): Promise<ReplicaStatus> {
    await this.onStatus()
    const { shard, replica, generation, state, indexAgeMs } = this
    return {
      shard,
      replica,
      generation,
      state,
      reason: null,
      applied: {},
      watermark: { 0: asOffset(this.watermark), 1: asOffset(this.watermark) },
      indexAgeMs,
      items: { searchable: 90, pending: 8, failed: 2, deleted: 7 },
      rows: 100,
      tombstones: 0,
      segments: 1,
      memoryBytes: 1,
      digests: {},
      vectors: { dims: 256, count: 100, normMin: 1, normMax: 1, normMean: 1 },
      searchMs: { count: 0, sumMs: 0, p50: 0, p99: 0, buckets: [] },
      checkpoint: { writtenAtMs: null, bytes: 0 },
      storage: {
        graphs: 0,
        scannedRows: 100,
        vectors: { memoryBytes: 3_000, diskBytes: 4_000, memoryPerVector: 30 },
        items: { memoryBytes: 500, diskBytes: 700, memoryPerItem: 5 },
      },
      recall: null,
    }
  }

  async beginCut(partition: Partition, offset: Offset): Promise<CutTaken> {
    await this.onCut()
    const buckets = { set: nothingSummed, objects: nothingSummed }
    return {
      cut: 'cut',
      partition,
      offset,
      live: 0,
      buckets,
      listed: await this.cutItems('cut', this.failed as ItemId[]),
    }
  }

  async cutItems(_cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]> {
    return itemIds.map(itemId => {
      const failed = this.failed.includes(itemId)
      return { itemId, attributes: asOffset(failed ? 1 : -1), objects: null, failed, ahead: false }
    })
  }

  async cutBucket(): Promise<readonly ItemAtCut[]> {
    return []
  }

  async endCut(): Promise<void> {}
}

export const passedReport: CanaryReport = {
  passed: true,
  reasons: [],
  candidate: 'g2' as Generation,
  reference: 'g1' as Generation,
  startedAtMs: 1,
  tookMs: 1,
  seed: 1,
  bounds: { name: 'test', digest: '' },
  measures: [{ name: 'items.recall@10', of: 'candidate', value: 1, bound: 'at least 0.95', met: true }],
  replicas: [],
  questions: [],
  misses: [],
}

/** A control log with g1 of model v1 active, and desks on it. */
export class DeskFixture {
  readonly directory: string
  readonly log: EmbeddedEventLog
  readonly codecs: Codecs
  readonly replicas = new Map([['g1', new StandingReplica('g1')]])
  readonly topics: string[] = []
  canaryReport = passedReport
  nowMs = 1_000_000
  diskFreeBytes: number | null = 1e9
  readonly #environment: EmbeddedEnvironment
  readonly #desks: OperatorDesk[] = []

  private constructor(directory: string, environment: EmbeddedEnvironment, codecs: Codecs) {
    this.directory = directory
    this.#environment = environment
    this.log = new EmbeddedEventLog(environment)
    this.codecs = codecs
  }

  static async open(): Promise<DeskFixture> {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-desk-'))
    const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
    const schemas = new MemorySchemaDirectory()
    await registerSchemas(schemas)
    const fixture = new DeskFixture(directory, environment, await openCodecs(schemas))
    await fixture.#fill()
    return fixture
  }

  async #fill(): Promise<void> {
    const forEver = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
    await this.log.ensureTopic({ ...forEver, name: controlTopic, partitions: 1 })
    await this.log.ensureTopic({ ...forEver, name: catalogTopic, partitions })
    // The desk looks at how much there is, never at what it is.
    const record = { key: null, value: Uint8Array.of(1) }
    await this.log.append(
      catalogTopic,
      all.flatMap(partition => Array.from({ length: 5 }, () => ({ ...record, partition }))),
    )
    const control = new ControlLog({ log: this.log, codec: this.codecs.control })
    const first = { generation: 'g1' as Generation, shards: 1, topicEpoch, by: 'serve', nowMs: 1 }
    const backfillUntil = [asOffset(5), asOffset(5)]
    await ensureFirstGeneration(control, { ...models.v1, ...first, backfillUntil })
  }

  desk(ports: Partial<DeskPorts> = {}, options: Partial<DeskOptions> = {}): OperatorDesk {
    const desk = new OperatorDesk(
      {
        log: this.log,
        codec: this.codecs.control,
        partitions,
        topicEpoch: () => topicEpoch,
        replicas: () => [...this.replicas.values()],
        heldModel: async name => models[name as keyof typeof models] ?? null,
        checkSettings: ({ weights }) => {
          if (weights === 'unknown') throw new FreshetError('bad-request', 'weights: there are none of that version')
        },
        createTopic: async generation => {
          this.topics.push(generation)
        },
        imageCost: async () => ({ msPerImage: 80, workers: 2, isAssumed: false }),
        knownShare: () => 0.1,
        diskFreeBytes: async () => this.diskFreeBytes,
        throttledBy: () => null,
        canary: { run: async () => this.canaryReport },
        evidenceDirectory: join(this.directory, 'evidence'),
        clock: () => this.nowMs,
        ...ports,
      },
      {
        undoMaxAgeMs: 5_000,
        warmMs: 1_000,
        allowance: { failedItems: 0, failedShare: 0 },
        maxCuts: 3,
        lagTimeoutMs: 1_000,
        ...options,
      },
    )
    this.#desks.push(desk)
    return desk
  }

  async close(): Promise<void> {
    for (const desk of this.#desks) await desk.close()
    await this.log.close()
    await this.#environment.close()
    await rm(this.directory, { recursive: true })
  }
}
