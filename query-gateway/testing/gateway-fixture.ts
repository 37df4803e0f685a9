import { createHash, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import { FreshetError } from '../../schemas/errors.ts'
import {
  asOffset,
  asPartition,
  type Fingerprint,
  type Generation,
  type ImageDigest,
  type ItemId,
  type Partition,
  type TopicEpoch,
} from '../../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, ImageModel, QuerySelection } from '../../schemas/image-analysis.ts'
import type { Box } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import type { ItemSnapshot, ShardHit } from '../../schemas/shard-api.ts'
import { MemorySchemaDirectory } from '../../schemas/testing/memory-schema-directory.ts'
import { catalogTopic, engagementTopic } from '../../schemas/topics.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import { createGateway } from '../gateway.ts'
import type { GatewayApp } from '../gateway-app.ts'
import type { GatewayOptions } from '../gateway-options.ts'
import type { GatewayPorts, ListedDeadLetter, RedriveOutcome, RoutedGeneration } from '../ports.ts'
import { RoutedDesk } from './routed-desk.ts'
import { TableReplica } from './table-replica.ts'

export const partitions = 4
export const allPartitions: readonly Partition[] = Array.from({ length: partitions }, (_, p) => asPartition(p))
export const topicEpoch = '00000000000000aa' as TopicEpoch
export const fingerprint = 'ab'.repeat(32) as Fingerprint
export const wholePicture: Box = [0, 0, 1, 1]
export const unitVector = Float32Array.of(1, 0, 0, 0)
/** Enough of a PNG for whoever looks at signatures. */
export const picture = Buffer.from('\x89PNG\r\n\x1a\n and more bytes than a signature needs to have', 'latin1')

export const generation: RoutedGeneration = {
  generation: 'g1' as Generation,
  model: 'v1',
  fingerprint,
  dims: 4,
  shards: 1,
  state: 'active',
  share: 1,
}

/** Sees one object, in the upper left quarter; remembers what it was asked. */
export class QuarterModel implements ImageModel {
  readonly model: string = 'v1'
  readonly fingerprint: Fingerprint = fingerprint
  readonly dims = 4
  readonly asked: { readonly image: ImageBytes; readonly selection: QuerySelection }[] = []
  /** What `analyse` waits for before it answers. */
  gate: Promise<void> = Promise.resolve()
  trouble: FreshetError | null = null

  index(): Promise<never> {
    throw new FreshetError('internal', 'the gateway never indexes')
  }

  async analyse(image: ImageBytes, selection: QuerySelection): Promise<AnalysedImage> {
    this.asked.push({ image, selection })
    await this.gate
    if (this.trouble) throw this.trouble
    const object = { box: [0, 0, 0.5, 0.5] as Box, label: 'toilet', score: 0.9 }
    if (typeof selection === 'object' && 'object' in selection && selection.object > 0)
      throw new FreshetError('object-not-found', 'there is one object')
    const box = typeof selection === 'object' && 'box' in selection ? selection.box : object.box
    const embeds = selection !== 'none'
    return {
      width: 40,
      height: 30,
      objects: [object],
      searched: embeds ? { box, object: box === object.box ? 0 : null } : null,
      vector: embeds ? unitVector : null,
      timingMs: { decode: 1, detect: 2, embed: embeds ? 3 : 0 },
    }
  }
}

/** Pictures in a directory, without the rules of the real store. */
class DirectoryBlobs {
  readonly #directory: string
  trouble: FreshetError | null = null

  constructor(directory: string) {
    this.#directory = directory
  }

  async put(source: Uint8Array | AsyncIterable<Uint8Array>, limitBytes: number) {
    if (this.trouble) throw this.trouble
    const chunks: Uint8Array[] = []
    for await (const chunk of source instanceof Uint8Array ? [source] : source) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    if (bytes.length > limitBytes) throw new FreshetError('image-too-large', 'too large')
    const digest = createHash('sha256').update(bytes).digest('hex') as ImageDigest
    await writeFile(this.path(digest), bytes)
    return { digest, bytes: bytes.length }
  }

  has(digest: ImageDigest): boolean {
    return existsSync(this.path(digest))
  }

  renew(digest: ImageDigest): boolean {
    return existsSync(this.path(digest))
  }

  path(digest: ImageDigest): string {
    return join(this.#directory, digest)
  }
}

/** Dead letters in a list. */
class LetterTray {
  letters: ListedDeadLetter[] = []
  redriven: string[] = []

  async list({ limit, after }: { readonly limit: number; readonly after?: string }) {
    const from = after === undefined ? 0 : Number(after)
    const letters = this.letters.slice(from, from + limit)
    return { letters, next: from + limit < this.letters.length ? String(from + limit) : null }
  }

  async show(id: string): Promise<ListedDeadLetter> {
    const found = this.letters.find(letter => letter.id === id)
    if (!found) throw new FreshetError('dead-letter-not-found', `there is no dead letter ${id}`)
    return found
  }

  async redrive(id: string): Promise<RedriveOutcome> {
    const { letter } = await this.show(id)
    if (!letter.job) throw new FreshetError('bad-request', 'the letter holds no job')
    this.redriven.push(id)
    return 'queued'
  }

  async markHandled(id: string): Promise<void> {
    await this.show(id)
    this.letters = this.letters.filter(letter => letter.id !== id)
  }
}

export interface GatewayFixture {
  readonly app: GatewayApp
  readonly log: EmbeddedEventLog
  readonly codecs: Codecs
  readonly model: QuarterModel
  readonly blobs: DirectoryBlobs
  readonly letters: LetterTray
  /** The one replica unless a test passes others. */
  readonly replica: TableReplica
  readonly ports: GatewayPorts
  /** What was added to the catalog topic since this gateway was opened, in order per partition. */
  catalog(): Promise<readonly CatalogEvent[]>
  close(): Promise<void>
}

export interface FixtureOptions {
  readonly options?: Partial<GatewayOptions>
  readonly ports?: Partial<GatewayPorts>
  readonly replicas?: readonly TableReplica[]
}

interface OpenLog {
  readonly directory: string
  readonly environment: EmbeddedEnvironment
  readonly log: EmbeddedEventLog
  readonly codecs: Codecs
}

/** One environment for all gateways of a test file: opening one is most of a test's time. */
let opened: Promise<OpenLog> | null = null

afterAll(async () => {
  if (!opened) return
  const { directory, environment, log } = await opened
  await log.close()
  await environment.close()
  await rm(directory, { recursive: true })
})

async function openLog(): Promise<OpenLog> {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-gateway-'))
  const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: Date.now })
  const log = new EmbeddedEventLog(environment)
  const forEver = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
  for (const name of [catalogTopic, engagementTopic]) await log.ensureTopic({ name, partitions, ...forEver })
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  return { directory, environment, log, codecs: await openCodecs(schemas) }
}

/** The gateway over a real event log and real codecs, with stand-ins where shards, models and pictures are. */
export async function openGateway({
  options = {},
  ports = {},
  replicas,
}: FixtureOptions = {}): Promise<GatewayFixture> {
  opened ??= openLog()
  const { log, codecs } = await opened
  const before = await log.offsets(catalogTopic)
  const directory = await mkdtemp(join(tmpdir(), 'freshet-blobs-'))
  const model = new QuarterModel()
  const blobs = new DirectoryBlobs(directory)
  const letters = new LetterTray()
  const replica = replicas?.[0] ?? new TableReplica({ partitions: allPartitions })
  const all: GatewayPorts = {
    log,
    catalogCodec: codecs.catalog,
    engagementCodec: codecs.engagement,
    features: { readSums: async keys => keys.map(() => undefined) },
    partitions,
    topicEpoch,
    routing: () => [generation],
    replicas: () => replicas ?? [replica],
    modelOf: () => model,
    fetchImage: async () => (await blobs.put(picture, picture.length)).digest,
    blobs,
    deadLetters: letters,
    generations: new RoutedDesk(() => (ports.routing ?? (() => [generation]))()),
    pipeline: async () => ({
      rates: { searchable: 12 },
      queue: { waiting: { live: 1, standby: 0, backfill: 5 }, delayed: 2, claimed: 3 },
      processes: [{ name: 'model-0', pid: 4242, state: 'running', restarts: 0 }],
      alarms: [],
      deadLetters: letters.letters.length,
    }),
    recentItems: () => [],
    backup: async () => ({ bytes: 99 }),
    snapshot: async ({ directory, shard = 0 }) => [
      { shard, replica: 'r0', directory: `${directory}/g1-${shard}`, bytes: 99, tookMs: 1 },
    ],
    ready: () => true,
    clock: Date.now,
    newId: randomUUID,
    ...ports,
  }
  const app = await createGateway(all, { pageDirectory: new URL('../page', import.meta.url).pathname, ...options })
  return {
    app,
    log,
    codecs,
    model,
    blobs,
    letters,
    replica,
    ports: all,
    catalog: () => readCatalog(log, codecs, before),
    close: async () => {
      await app.close()
      await rm(directory, { recursive: true })
    },
  }
}

type Ends = Awaited<ReturnType<EmbeddedEventLog['offsets']>>

async function readCatalog(log: EmbeddedEventLog, codecs: Codecs, before: Ends): Promise<readonly CatalogEvent[]> {
  const from = new Map(Array.from(before, ([partition, { end }]) => [partition, end]))
  const reader = await log.openReader({ topic: catalogTopic, partitions: allPartitions, from })
  const ends = await log.offsets(catalogTopic)
  const events: CatalogEvent[] = []
  while (allPartitions.some(partition => reader.position(partition) < ends.get(partition)!.end))
    for (const { value } of await reader.poll(10_000, 1_000)) events.push(codecs.catalog.decode(value!))
  await reader.close()
  return events
}

export const itemId = (id: string): ItemId => id as ItemId
export const partitionOfItem = (id: string): Partition => partitionOf(itemId(id), partitions)

export function snapshot(id: string, more: Partial<ItemSnapshot> = {}): ItemSnapshot {
  return {
    itemId: itemId(id),
    title: `Title of ${id}`,
    category: 'lamp',
    price: 10,
    currency: 'EUR',
    regions: ['de'],
    available: true,
    attributes: {},
    images: ['https://shop.example/a.jpg'],
    imageDigests: [],
    stale: false,
    version: asOffset(4),
    ...more,
  }
}

export function hit(id: string, similarity: number): ShardHit {
  return {
    itemId: itemId(id),
    similarity,
    object: { box: wholePicture, label: 'toilet', image: 0 },
    item: snapshot(id),
  }
}
