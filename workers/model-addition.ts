import { cp, mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import { chosenSet, type DownloadProgress, downloadModel } from './model-download.ts'
import { type ModelSet, openModelSet, partsOf, readModelManifest } from './model-manifest.ts'
import type { ModelRuntime } from './model-runtime.ts'
import type { ModelStore } from './model-store.ts'
import { type ModelTrial, tryModel } from './model-trial.ts'

/** A directory that holds `manifest.json`, or the address of a `manifest.json`. */
export type ModelSource = { readonly directory: string } | { readonly url: string }

export interface AddModelOptions {
  readonly source: ModelSource
  /** Set to add; may be left out where the manifest has one only. */
  readonly name?: string | undefined
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: DownloadProgress) => void
}

export interface AddedModel {
  readonly set: ModelSet
  readonly trial: ModelTrial
  /** False: it was there already, and was tried once more. */
  readonly isNew: boolean
}

/**
 * Fetches, verifies and runs a model set, then keeps it in the store. The same set again changes nothing. Native code
 * runs a file that nobody has tried: call it in a process that may die.
 * @throws FreshetError `model-invalid` with what is wrong, also when the name belongs to another set;
 * `model-unavailable` when the server does not give it: what was fetched is kept, and the next call goes on there
 */
export async function addModel(
  store: ModelStore,
  runtime: ModelRuntime,
  options: AddModelOptions,
): Promise<AddedModel> {
  return store.staged(async stage => {
    const name = await fetched(store, options, stage)
    const set = await openModelSet(stage, name)
    const trial = await tryModel(set, runtime)
    const held = await store.held(name)
    if (held === null) {
      await store.keep(set, stage)
      return { set: await store.open(name), trial, isNew: true }
    }
    if (held.fingerprint === set.fingerprint) return { set: held, trial, isNew: false }
    throw new FreshetError(
      'model-invalid',
      `the name ${name} belongs to another model set (fingerprint ${held.fingerprint}): give it a new one`,
    )
  })
}

/** Name of the set that now lies in the stage. */
async function fetched(
  store: ModelStore,
  { source, name, ...options }: AddModelOptions,
  stage: string,
): Promise<string> {
  if ('url' in source) {
    const { partialDirectory } = store
    return downloadModel({ ...options, url: source.url, name, directory: stage, partialDirectory })
  }
  const chosen = chosenSet(await readModelManifest(source.directory), name)
  const set = await openModelSet(source.directory, chosen)
  await cp(join(source.directory, 'manifest.json'), join(stage, 'manifest.json'))
  for (const { file } of partsOf(set)) await cp(join(source.directory, file), join(stage, file))
  for (const golden of goldenFiles(set)) await copyGolden(source.directory, stage, golden)
  return chosen
}

function goldenFiles(set: ModelSet): readonly string[] {
  const named = partsOf(set).flatMap(({ golden }) => golden.filter(({ fileSha256 }) => fileSha256 !== undefined))
  return [...new Set(named.map(({ input }) => basename(input)))]
}

async function copyGolden(from: string, to: string, name: string): Promise<void> {
  await mkdir(join(to, 'golden'), { recursive: true })
  await cp(join(from, 'golden', name), join(to, 'golden', name)).catch(cause => {
    throw new FreshetError('model-invalid', `the golden picture ${name} is missing beside the manifest`, { cause })
  })
}
