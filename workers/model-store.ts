import { randomUUID } from 'node:crypto'
import { link, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { type AnyModel, bundledModels, type ModelSet, modelSetNames, openModelSet, partsOf } from './model-manifest.ts'

/**
 * Model sets of an installation: those that come with Freshet, and those that were added. Files lie once by their
 * SHA-256, whatever sets use them; a set is a directory that links to them, which appears whole or not at all.
 * Layout: `FORMAT.md`.
 */
export class ModelStore {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Names, those that come with Freshet first. */
  async names(): Promise<readonly string[]> {
    return [...(await modelSetNames(bundledModels)), ...(await this.#added())]
  }

  /** Verifies its files. @throws FreshetError `model-invalid` */
  async open(name: string): Promise<ModelSet> {
    const added = await this.#added()
    if (added.includes(name)) return openModelSet(this.#setDirectory(name), name)
    const bundled = await modelSetNames(bundledModels)
    if (bundled.includes(name)) return openModelSet(bundledModels, name)
    throw new FreshetError(
      'model-invalid',
      `there is no model set ${name}; known are ${[...bundled, ...added].join(', ')}`,
    )
  }

  /** The set of that name, whether it came with Freshet or was added; null: there is none. @throws as `open` */
  async held(name: string): Promise<ModelSet | null> {
    return (await this.names()).includes(name) ? this.open(name) : null
  }

  /** Gives an empty directory of the store to put a set together in, gone when the call ends. */
  async staged<T>(use: (stage: string) => Promise<T>): Promise<T> {
    const stage = join(this.#directory, 'tmp', randomUUID())
    await mkdir(stage, { recursive: true })
    try {
      return await use(stage)
    } finally {
      await rm(stage, { recursive: true, force: true })
    }
  }

  /** Where files that are being fetched wait for their rest, by digest. */
  get partialDirectory(): string {
    return join(this.#directory, 'partial')
  }

  /** Moves a set that was put together and verified into the store; durable once it resolves. */
  async keep(set: ModelSet, stage: string): Promise<void> {
    const files = join(this.#directory, 'files')
    await mkdir(files, { recursive: true })
    await mkdir(join(this.#directory, 'sets'), { recursive: true })
    for (const { file, sha256 } of partsOf(set)) {
      const kept = join(files, sha256)
      await synced(join(stage, file))
      await rename(join(stage, file), kept)
      await link(kept, join(stage, file))
    }
    await writeFile(join(stage, 'manifest.json'), await onlySet(stage, set))
    await synced(join(stage, 'manifest.json'))
    await synced(files)
    await rename(stage, this.#setDirectory(set.name))
    await synced(join(this.#directory, 'sets'))
  }

  async #added(): Promise<readonly string[]> {
    try {
      return (await readdir(join(this.#directory, 'sets'))).sort()
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw asFreshetError(thrown)
    }
  }

  #setDirectory(name: string): string {
    return join(this.#directory, 'sets', name)
  }
}

/** The manifest as it was given, but for sets and models that are not this set's. */
async function onlySet(directory: string, set: ModelSet): Promise<string> {
  const manifest = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8')) as {
    sets: Record<string, unknown>
    models: AnyModel[]
  }
  const ids = new Set(partsOf(set).map(({ id }) => id))
  return JSON.stringify({
    ...manifest,
    sets: { [set.name]: manifest.sets[set.name] },
    models: manifest.models.filter(({ id }) => ids.has(id)),
  })
}

async function synced(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
