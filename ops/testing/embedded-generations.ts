import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { metrics } from '@opentelemetry/api'
import { pino } from 'pino'
import { decodeJob, type EmbedJob } from '../../schemas/embed-job.ts'
import { asOffset, asPartition, type Generation, type ItemId, parseItemId } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import type { ShardNode } from '../../shard-node/shard-node.ts'
import { type Certificate, certify } from '../../topologies/generations/certificate.ts'
import { Alarms } from '../alarms.ts'
import { parseConfig } from '../config.ts'
import { GenerationRoles } from '../generation-roles.ts'
import { type ImageRole, openImages } from '../image-roles.ts'
import { openStorage, type Storage } from '../storage.ts'

const clock = () => Date.now()
const log = pino({ level: 'silent' })
const patienceMs = 120_000

export interface BuiltGeneration {
  readonly shards: number
  /** Whose objects it copies; null: everything is embedded. */
  readonly from: Generation | null
  readonly index?: string
}

/** Dispatchers, workers with the stub model and shards of several generations, on embedded storage, without HTTP. */
export class EmbeddedGenerations {
  readonly directory: string
  readonly storage: Storage
  readonly roles: GenerationRoles
  readonly alarms: Alarms
  /** All that were enqueued. */
  readonly jobs: readonly EmbedJob[]
  readonly #images: ImageRole

  private constructor(
    parts: Pick<EmbeddedGenerations, 'directory' | 'storage' | 'roles' | 'alarms' | 'jobs'> & { images: ImageRole },
  ) {
    this.directory = parts.directory
    this.storage = parts.storage
    this.roles = parts.roles
    this.alarms = parts.alarms
    this.jobs = parts.jobs
    this.#images = parts.images
  }

  static async start(environment: Readonly<Record<string, string>> = {}): Promise<EmbeddedGenerations> {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-embedded-'))
    const { config } = parseConfig({
      machine: { cores: 2 },
      workingDir: directory,
      environment: { FRESHET_DATA_DIR: directory, FRESHET_STUB_MODEL: 'true', ...environment },
      flags: {},
    })
    const storage = await openStorage(config, log, clock)
    const jobs = notedJobs(storage)
    const blobs = {
      directory: join(directory, 'blobs'),
      isReferenced: async <T>(digests: readonly T[]) => new Set(digests),
    }
    const images = await openImages({ config, stores: storage, blobs, clock })
    const alarms = new Alarms(log, clock)
    const meter = metrics.getMeter('test')
    const parts = { config, storage, images, alarms, log, clock, meter }
    const roles = await GenerationRoles.start({ ...parts, onSearchable: () => {} })
    return new EmbeddedGenerations({ directory, storage, roles, alarms, jobs, images })
  }

  /** Upserts of items with a picture each, null for a delete; all pictures are made up. */
  async publish(
    events: readonly { readonly item: string; readonly picture: string | null; readonly price?: number }[],
  ) {
    const { codecs, partitions } = this.storage
    const records = await Promise.all(
      events.map(async ({ item, picture, price = null }) => {
        const itemId = parseItemId(item)
        const value = codecs.catalog.encode(
          picture === null
            ? { type: 'ItemDeleted', itemId }
            : { ...upsert, itemId, title: item, images: [await this.#imageOf(picture)], price },
        )
        return { partition: partitionOf(itemId, partitions), key: Buffer.from(itemId), value }
      }),
    )
    await this.storage.log.append(catalogTopic, records)
  }

  async #imageOf(picture: string): Promise<string> {
    const { digest } = await this.#images.blobs.put(Buffer.from(picture), picture.length)
    return `blob:${digest}`
  }

  /** As an operator's desk does it, with the stub model. */
  async build(generation: Generation, { shards, from, index = '' }: BuiltGeneration): Promise<void> {
    const control = this.roles.control.log
    const { lastAccepted, models } = await control.refresh()
    const [{ model, fingerprint, dims }] = [...models.values()] as [
      typeof models extends ReadonlyMap<string, infer M> ? M : never,
    ]
    const { partitions, topicEpoch } = this.storage
    const ends = await this.storage.log.offsets(catalogTopic)
    await control.append({
      type: 'GenerationStarted',
      decidedAfter: lastAccepted,
      by: 'test',
      atMs: clock(),
      reason: 'a test',
      generation,
      model,
      fingerprint,
      dims,
      shards,
      backfillUntil: Array.from({ length: partitions }, (_, p) => ends.get(asPartition(p))?.end ?? asOffset(0)),
      topicEpoch,
      from,
      weights: '',
      index,
      imagesPerSecond: 0,
    })
  }

  shardsOf(generation: Generation): readonly ShardNode[] {
    return this.roles.shards().filter(shard => shard.generation === generation)
  }

  /** Resolves once the generation's watermarks have reached what the catalog holds now. */
  async applied(generation: Generation): Promise<void> {
    const ends = await this.storage.log.offsets(catalogTopic)
    await this.until(`${generation} is applied`, async () => {
      const statuses = await Promise.all(this.shardsOf(generation).map(shard => shard.status()))
      const reached = new Map(statuses.flatMap(({ watermark }) => Object.entries(watermark)))
      return [...ends].every(([partition, { end }]) => (reached.get(String(partition)) ?? -1) >= end - 1)
    })
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const startedMs = performance.now()
    while (!(await holds())) {
      if (performance.now() - startedMs > patienceMs) throw new Error(`in vain: ${what}`)
      await pause(20)
    }
  }

  certificate(reference: Generation, candidate: Generation): Promise<Certificate> {
    const { log: events, partitions, topicEpoch } = this.storage
    return certify({
      reference,
      candidate,
      partitions,
      topicEpoch,
      replicas: () => this.roles.shards(),
      catalogEnds: () => events.offsets(catalogTopic),
      allowance: { failedItems: 0, failedShare: 0 },
      maxCuts: 50,
      lagTimeoutMs: patienceMs,
      clock,
      signal: new AbortController().signal,
      onProgress: () => undefined,
    })
  }

  /** Digests by partition, as the shards tell them. */
  async digests(
    generation: Generation,
  ): Promise<Readonly<Record<string, { readonly set: string; readonly objects: string }>>> {
    const statuses = await Promise.all(this.shardsOf(generation).map(shard => shard.status()))
    return Object.assign({}, ...statuses.map(({ digests }) => digests))
  }

  /** One digest over the vectors of the items' first objects, and over which have none. */
  async vectors(generation: Generation, items: readonly string[]): Promise<string> {
    const digest = createHash('sha256')
    for (const item of items) {
      const itemId: ItemId = parseItemId(item)
      const found = await Promise.all(this.shardsOf(generation).map(shard => shard.objectVector(itemId, 0)))
      const vector = found.find(each => each !== null)
      digest
        .update(`${item} `)
        .update(
          vector === undefined || vector === null
            ? 'none'
            : new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength),
        )
    }
    return digest.digest('hex')
  }

  async close(): Promise<void> {
    await this.roles.close()
    await this.#images.close()
    await this.storage.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

const upsert = {
  type: 'ItemUpserted',
  imageVersion: '',
  refresh: false,
  category: 'Chairs',
  currency: '',
  regions: [],
  available: true,
  attributes: {},
} as const

function notedJobs({ queue }: Storage): readonly EmbedJob[] {
  const jobs: EmbedJob[] = []
  const add = queue.add.bind(queue)
  queue.add = added => {
    for (const { payload } of added) jobs.push(decodeJob(payload))
    return add(added)
  }
  return jobs
}
