import { join } from 'node:path'
import type { Logger } from 'pino'
import type { ImageDigest } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import { BlobStore, type BlobStoreOptions } from '../workers/blob-store.ts'
import { EmbeddingCache } from '../workers/embedding-cache.ts'
import { HttpImages } from '../workers/http-images.ts'
import { ImageSource } from '../workers/image-source.ts'
import { ModelPool } from '../workers/model-pool.ts'
import { ModelStore } from '../workers/model-store.ts'
import type { Config } from './config.ts'
import type { ModelIdentity } from './first-generation.ts'
import { checkRoutes } from './route-check.ts'
import type { LocalStores } from './storage.ts'
import { isStubName, StubModel, stubName } from './stub-model.ts'

export interface ModelProcess {
  readonly name: string
  readonly pid: number | null
  readonly state: 'starting' | 'running' | 'restarting' | 'stopped'
  readonly restarts: number
}

/** A model that indexing and queries share, and the processes behind it. */
export interface ModelRole {
  readonly model: ImageModel
  processes(): readonly ModelProcess[]
  /** Whether its processes give way to others. */
  setBackground(isBackground: boolean): void
  close(): Promise<void>
}

/** What is configured of models. */
export type ModelConfig = Pick<Config, 'dataDir' | 'modelsDir' | 'stubModel' | 'model' | 'processes' | 'limits'>

/** The model running, and shown to do for queries what it does in indexing. @throws FreshetError `model-invalid` */
export async function openModel(
  config: ModelConfig,
  log: Logger,
  name: string,
  isBackground = false,
): Promise<ModelRole> {
  if (config.stubModel)
    return { model: new StubModel(name), processes: () => [], setBackground: () => {}, close: async () => {} }
  const pool = await ModelPool.open({
    modelSet: name,
    modelDirectory: (await openModelStore(config).open(name)).directory,
    processes: config.processes,
    clock: () => performance.now(),
    log,
    maxPixels: config.limits.pixels,
    isBackground,
  })
  await checkRoutes(pool).catch(async thrown => {
    await pool.close()
    throw thrown
  })
  return {
    model: pool,
    processes: () =>
      pool.status().processes.map(({ pid, state, restarts }, i) => ({
        name: `model-${name}-${i}`,
        pid,
        state: shown[state],
        restarts,
      })),
    setBackground: isBackground => pool.setBackground(isBackground),
    close: () => pool.close(),
  }
}

/**
 * What tells a model from others, without loading it; the one that the first generation is built with unless another
 * one is named. @throws FreshetError `model-invalid`
 */
export async function modelIdentity(config: ModelConfig, name = configuredModel(config)): Promise<ModelIdentity> {
  if (config.stubModel) return new StubModel(name)
  const { fingerprint, dims } = await openModelStore(config).open(name)
  return { model: name, fingerprint, dims }
}

/** With stub models the name of a real one stands for the stub model without a name of its own. */
function configuredModel({ stubModel, model }: ModelConfig): string {
  return stubModel && !isStubName(model) ? stubName : model
}

/** The model sets that come with Freshet, and those that were added here. */
export function openModelStore({ dataDir, modelsDir }: Pick<Config, 'dataDir' | 'modelsDir'>): ModelStore {
  return new ModelStore(modelsDir ?? join(dataDir, 'models'))
}

const shown = {
  starting: 'starting',
  ready: 'running',
  draining: 'restarting',
  pausing: 'restarting',
  closed: 'stopped',
} as const

/** Where pictures come from and are kept. */
export interface ImageRole {
  readonly blobs: BlobStore
  readonly source: ImageSource
  readonly cache: EmbeddingCache
  /** The guarded download of the gateway. */
  fetchImage(url: string, signal: AbortSignal): Promise<ImageDigest>
  close(): Promise<void>
}

const cachedImages = 1_000_000

export interface ImageRoleOptions {
  readonly config: Config
  readonly stores: LocalStores
  readonly blobs: Pick<BlobStoreOptions, 'directory' | 'isShared' | 'isReferenced'>
  readonly clock: () => number
}

export async function openImages(options: ImageRoleOptions): Promise<ImageRole> {
  const { config, stores, clock } = options
  const blobs = await BlobStore.open({ ...options.blobs, maxBytes: config.blobStoreMaxBytes, clock })
  const http = new HttpImages({
    clock: () => performance.now(),
    allowPrivateHosts: config.allowPrivateHosts,
    ports: config.imagePorts,
    maxBytes: config.limits.imageBytes,
  })
  const store = stores.keyValueStore('images')
  const source = await ImageSource.open({
    blobs,
    http,
    store,
    fileRoots: config.imageRoots,
    maxReferences: cachedImages,
    random: Math.random,
  })
  const cache = new EmbeddingCache({ store, maxEntries: cachedImages, random: Math.random })
  return {
    blobs,
    source,
    cache,
    fetchImage: (url, signal) => source.resolve(url, { imageVersion: '', refresh: false, signal }),
    close: async () => {
      await source.close()
      await cache.close()
      await http.close()
    },
  }
}
