import { hash } from 'node:crypto'
import { readFile, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { GatewayPorts } from '../query-gateway/ports.ts'
import { WeightsBook } from '../query-gateway/ranking/ranking-weights.ts'
import type { GenerationStarted } from '../schemas/control.ts'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, Generation, ImageDigest, TopicEpoch } from '../schemas/ids.ts'
import type { CertifiableReplica } from '../topologies/generations/certificate.ts'
import type { ImageCost } from '../topologies/generations/desk/build-estimate.ts'
import type { KnownModel } from '../topologies/generations/desk/decisions.ts'
import { OperatorDesk } from '../topologies/generations/desk/operator-desk.ts'
import { type CanaryParts, newCanaryGate } from './canary-parts.ts'
import type { Config } from './config.ts'
import { demoDirectory } from './demo-catalog.ts'
import { type ImageRole, modelIdentity, openModel, openModelStore } from './image-roles.ts'
import { indexParameters } from './pipeline-parts.ts'
import type { LogPorts } from './storage.ts'
import { isStubName } from './stub-model.ts'
import { mutationTopicSpec } from './topic-set-up.ts'

export interface DeskParts {
  readonly config: Config
  readonly log: Logger
  readonly stored: LogPorts
  /** Those of the gateway in this process. */
  readonly gateway: CanaryParts['search'] & Pick<GatewayPorts, 'recentItems' | 'blobs'>
  readonly images: Pick<ImageRole, 'cache'>
  readonly replicas: () => readonly CertifiableReplica[]
  /** Of the catalog that generations are built from. */
  readonly topicEpoch: () => TopicEpoch
  readonly throttledBy: (generation: Generation) => string | null
  /** Log and shards lie in the data directory. */
  readonly isOneMachine: boolean
  /** Where evidence is written: what all gateways see, as far as they share anything. */
  readonly evidenceDirectory: string
}

const maxCuts = 20
/** A replica lags once image work that fails, and holds its watermark, should have been told as failed. */
const besidesWorkMs = 15_000

/** The desk of a process that has a gateway; not started. */
export function newDesk(parts: DeskParts): OperatorDesk {
  const { config, stored, gateway, replicas, topicEpoch, throttledBy, isOneMachine, evidenceDirectory } = parts
  const { undoMaxAgeMs, warmMs, maxFailedItems, maxFailedPercent } = config.generations
  const { log, codecs, partitions } = stored
  return new OperatorDesk(
    {
      log,
      codec: codecs.control,
      partitions,
      topicEpoch,
      replicas,
      heldModel: name => heldModel(config, name),
      checkSettings,
      createTopic: generation => log.ensureTopic(mutationTopicSpec(config, generation)),
      imageCost: name => imageCost(parts, name),
      knownShare: fingerprint => knownShare(parts, fingerprint),
      diskFreeBytes: async () => (isOneMachine ? freeBytes(config.dataDir) : null),
      throttledBy,
      canary: newCanaryGate({ config, search: gateway, stored }),
      evidenceDirectory,
      clock: gateway.clock,
    },
    {
      undoMaxAgeMs,
      warmMs,
      allowance: { failedItems: maxFailedItems, failedShare: maxFailedPercent / 100 },
      maxCuts,
      lagTimeoutMs: config.workers.failAfterMs + besidesWorkMs,
    },
  )
}

async function heldModel(config: Config, name: string): Promise<KnownModel | null> {
  const isHeld = config.stubModel ? isStubName(name) : (await openModelStore(config).names()).includes(name)
  if (!isHeld) return null
  const { model, fingerprint, dims } = await modelIdentity(config, name)
  return { model, fingerprint, dims, manifest: JSON.stringify({ model, fingerprint, dims }) }
}

function checkSettings({ model, weights, index }: Pick<GenerationStarted, 'model' | 'weights' | 'index'>): void {
  if (weights !== '' && !WeightsBook.read().has({ model, weights }))
    throw new FreshetError('bad-request', `weights: there are no ranking weights ${weights}`)
  try {
    indexParameters({ started: { index } })
  } catch (thrown) {
    throw new FreshetError('bad-request', `index: ${asFreshetError(thrown).message}`, { cause: thrown })
  }
}

/** How long the second of two embeddings of a picture takes: the first one warms up. */
async function imageCost({ config, log, gateway, isOneMachine }: DeskParts, name: string): Promise<ImageCost> {
  const { model, close } = await openModel({ ...config, processes: 1 }, log, name)
  try {
    const { digest, path } = await samplePicture(gateway)
    await model.index({ path }, digest)
    const beganAt = performance.now()
    await model.index({ path }, digest)
    return { msPerImage: performance.now() - beganAt, workers: config.processes, isAssumed: !isOneMachine }
  } finally {
    await close()
  }
}

interface Picture {
  readonly digest: ImageDigest
  readonly path: string
}

/** One that became searchable lately, else one that comes with Freshet. */
async function samplePicture({ recentItems, blobs }: DeskParts['gateway']): Promise<Picture> {
  const recent = recentItems().flatMap(({ digest }) => (digest !== null && blobs.has(digest) ? [digest] : []))
  const [digest] = recent
  if (digest !== undefined) return { digest, path: blobs.path(digest) }
  const path = join(demoDirectory, 'views', 'blendswap-cc-0-31.webp')
  return { digest: hash('sha256', await readFile(path)) as ImageDigest, path }
}

/** Of the pictures that became searchable last. */
function knownShare({ gateway, images }: DeskParts, fingerprint: Fingerprint): number {
  const digests = gateway.recentItems().flatMap(({ digest }) => (digest === null ? [] : [digest]))
  const known = digests.filter(digest => images.cache.get(digest, fingerprint) !== undefined)
  return digests.length === 0 ? 0 : known.length / digests.length
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}
