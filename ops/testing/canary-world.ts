import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SearchPorts } from '../../query-gateway/visual-search.ts'
import { acceptMutation } from '../../schemas/accept-mutation.ts'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import type { EngagementRecord } from '../../schemas/engagement.ts'
import { FreshetError } from '../../schemas/errors.ts'
import {
  asOffset,
  asPartition,
  asShardId,
  type Generation,
  type ImageDigest,
  type ItemId,
  type Offset,
  parseItemId,
  type ReplicaId,
  type TopicEpoch,
} from '../../schemas/ids.ts'
import type { ImageModel } from '../../schemas/image-analysis.ts'
import { engagementPartition } from '../../schemas/item-engagement.ts'
import { type Mutation, mutationKey, type RegisterMutation } from '../../schemas/mutation.ts'
import { partitionOf, shardOf } from '../../schemas/partition.ts'
import { MemorySchemaDirectory } from '../../schemas/testing/memory-schema-directory.ts'
import { catalogTopic, engagementTopic, mutationTopic } from '../../schemas/topics.ts'
import { ShardNode } from '../../shard-node/shard-node.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import type { CanaryGate } from '../../topologies/generations/canary/canary-gate.ts'
import { newCanaryGate } from '../canary-parts.ts'
import { type Config, parseConfig } from '../config.ts'

export interface WorldItem {
  readonly itemId: string
  readonly category: string
  readonly picture: Uint8Array
}

interface KeptItem extends WorldItem {
  readonly id: ItemId
  readonly digest: ImageDigest
  readonly offset: Offset
}

interface HeldGeneration {
  readonly generation: Generation
  readonly model: ImageModel
  readonly nodes: readonly ShardNode[]
}

const partitions = 4
const epoch = '00000000000000aa' as TopicEpoch
const forEver = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }

/** A catalogue, its pictures, and generations of it on real shards: what the canary gate of a gateway stands on. */
export class CanaryWorld {
  readonly directory: string
  readonly log: EmbeddedEventLog
  readonly codecs: Codecs
  readonly generations: HeldGeneration[] = []
  readonly #environment: EmbeddedEnvironment
  readonly #items: KeptItem[] = []

  private constructor(directory: string, environment: EmbeddedEnvironment, codecs: Codecs) {
    this.directory = directory
    this.log = new EmbeddedEventLog(environment)
    this.codecs = codecs
    this.#environment = environment
  }

  static async create(items: readonly WorldItem[]): Promise<CanaryWorld> {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-canary-'))
    const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: Date.now })
    const schemas = new MemorySchemaDirectory()
    await registerSchemas(schemas)
    const world = new CanaryWorld(directory, environment, await openCodecs(schemas))
    for (const name of [catalogTopic, engagementTopic]) await world.log.ensureTopic({ name, partitions, ...forEver })
    for (const item of items) await world.#publish(item)
    return world
  }

  /** Reports of what somebody saw and chose. */
  async engage(records: readonly EngagementRecord[]): Promise<void> {
    await this.log.append(
      engagementTopic,
      records.map(record => ({
        partition: engagementPartition(record.queryId, partitions),
        key: Buffer.from(record.queryId),
        value: this.codecs.engagement.encode(record),
      })),
    )
  }

  /** Embeds every item with the model and waits until the shards have all of it. */
  async build(name: string, model: ImageModel, shards = 2): Promise<HeldGeneration> {
    const generation = name as Generation
    const topic = mutationTopic(generation)
    await this.log.ensureTopic({ name: topic, partitions, ...forEver, compacted: true })
    const nodes = await Promise.all(
      Array.from({ length: shards }, (_, shard) => this.#openNode(generation, model, { shard, shards })),
    )
    const mutations = (await Promise.all(this.#items.map(item => this.#mutationsOf(item, model)))).flat()
    await this.log.append(
      topic,
      [...mutations, ...watermarks(this.#items)].map(mutation => this.#recordOf(mutation)),
    )
    for (const [partition, { end }] of await this.log.offsets(topic))
      await Promise.all(
        nodes.filter(node => node.partitions.includes(partition)).map(node => node.reached(partition, end)),
      )
    const held = { generation, model, nodes }
    this.generations.push(held)
    return held
  }

  /** With the bounds that come with Freshet, but for those on times: a test may run on a machine that does much else. */
  gate(settings: { readonly config?: Partial<Config['generations']>; readonly seed?: number } = {}): CanaryGate {
    const { config } = parseConfig({ machine: { cores: 2 }, workingDir: '/', environment: {}, flags: {} })
    const canaryBounds = join(this.directory, 'bounds.json')
    writeFileSync(canaryBounds, boundsWithoutTimes())
    return newCanaryGate({
      config: { ...config, generations: { ...config.generations, canaryBounds, ...settings.config } },
      search: this.ports(),
      stored: { log: this.log, codecs: this.codecs, partitions },
      seed: settings.seed ?? 7,
    })
  }

  ports(): Parameters<typeof newCanaryGate>[0]['search'] {
    const blobs: SearchPorts['blobs'] = {
      has: digest => existsSync(this.#path(digest)),
      renew: digest => existsSync(this.#path(digest)),
      path: digest => this.#path(digest),
      put: () => Promise.reject(new FreshetError('internal', 'the canary stores nothing')),
    }
    return {
      blobs,
      fetchImage: () => Promise.reject(new FreshetError('internal', 'the canary fetches nothing')),
      features: { readSums: async keys => keys.map(() => undefined) },
      partitions,
      replicas: () => this.generations.flatMap(({ nodes }) => nodes),
      routing: () =>
        this.generations.map(({ generation, model, nodes }, i) => {
          const { fingerprint, dims } = model
          const share = i === 0 ? 1 : 0
          const state = i === 0 ? ('active' as const) : ('canary' as const)
          return { generation, model: model.model, fingerprint, dims, shards: nodes.length, state, share }
        }),
      modelOf: generation => this.generations.find(held => held.generation === generation)?.model,
      clock: Date.now,
      newId: randomUUID,
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.generations.flatMap(({ nodes }) => nodes).map(node => node.close()))
    await this.log.close()
    await this.#environment.close()
    await rm(this.directory, { recursive: true, force: true })
  }

  #path(digest: string): string {
    return join(this.directory, digest)
  }

  async #publish(item: WorldItem): Promise<void> {
    const id = parseItemId(item.itemId)
    const digest = createHash('sha256').update(item.picture).digest('hex') as ImageDigest
    await writeFile(this.#path(digest), item.picture)
    const record = { partition: partitionOf(id, partitions), key: Buffer.from(id), value: Buffer.from('event') }
    const [appended] = await this.log.append(catalogTopic, [record])
    this.#items.push({ ...item, id, digest, offset: appended!.offset })
  }

  #openNode(generation: Generation, model: ImageModel, { shard, shards }: { shard: number; shards: number }) {
    const all = Array.from({ length: partitions }, (_, i) => asPartition(i))
    const replica = `${generation}-${shard}-a`
    return ShardNode.open({
      directory: join(this.directory, replica),
      log: this.log,
      codec: this.codecs.mutations,
      generation,
      acceptance: acceptanceOf(model),
      shard: asShardId(shard),
      replica: replica as ReplicaId,
      partitions: all.filter(partition => shardOf(partition, shards) === shard),
      clock: Date.now,
      onFailure: () => {},
      onAlarm: () => {},
      tuning: { checkpointEveryMs: null, recall: null, index: { threads: 1 } },
    })
  }

  /** As a worker makes them: what may not enter the index is a failure. */
  async #mutationsOf(item: KeptItem, model: ImageModel): Promise<readonly RegisterMutation[]> {
    const { id, digest, offset, category } = item
    const of = { itemId: id, version: { epoch, offset } }
    const image = await model.index({ path: this.#path(digest) }, digest)
    const attributes: RegisterMutation = {
      type: 'AttributesPut',
      ...of,
      title: item.itemId,
      category,
      price: 10,
      currency: 'EUR',
      regions: ['de'],
      available: true,
      attributes: {},
      images: [`blob:${digest}`],
      imageVersion: '',
      acceptedAtMs: 1,
    }
    const objects: RegisterMutation = {
      type: 'ObjectsPut',
      ...of,
      imageIdentity: digest,
      imageDigests: [digest],
      fingerprint: model.fingerprint,
      objects: image.objects.map(object => ({ ...object, image: 0 })),
    }
    const refusal = acceptMutation(objects, acceptanceOf(model))
    if (refusal === null) return [attributes, objects]
    const failed: RegisterMutation = {
      type: 'WorkFailed',
      ...of,
      imageIdentity: digest,
      stage: 'embed',
      ...refusal,
      retryable: false,
      attempts: 1,
    }
    return [attributes, failed]
  }

  #recordOf(mutation: Mutation) {
    const partition = mutation.type === 'Watermark' ? mutation.partition : partitionOf(mutation.itemId, partitions)
    return { partition, key: Buffer.from(mutationKey(mutation)), value: this.codecs.mutations.encode(mutation) }
  }
}

function boundsWithoutTimes(): string {
  const file = new URL('../../topologies/generations/canary/canary-bounds.json', import.meta.url)
  const given = JSON.parse(readFileSync(file, 'utf8')) as { readonly bounds: readonly { readonly measure: string }[] }
  return JSON.stringify({ ...given, bounds: given.bounds.filter(({ measure }) => !/Ms$/.test(measure)) })
}

function acceptanceOf({ dims, fingerprint }: ImageModel) {
  return { dims, fingerprint, topicEpoch: epoch }
}

function watermarks(items: readonly KeptItem[]): readonly Mutation[] {
  return Array.from({ length: partitions }, (_, i): Mutation => {
    const partition = asPartition(i)
    const own = items.filter(({ id }) => partitionOf(id, partitions) === partition)
    const last = Math.max(0, ...own.map(({ offset }) => offset))
    return {
      type: 'Watermark',
      partition,
      offset: asOffset(last),
      oldestPendingTimeMs: null,
      endOffset: asOffset(last + 1),
      writtenAtMs: Date.now(),
    }
  })
}
