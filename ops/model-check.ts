import type { GoldenResult } from '../workers/golden-check.ts'
import { chosenSet } from '../workers/model-download.ts'
import { openModelSet, readModelManifest } from '../workers/model-manifest.ts'
import type { ModelStore } from '../workers/model-store.ts'
import { tryModel } from '../workers/model-trial.ts'
import { onnxRuntime } from '../workers/onnx-runtime.ts'

export interface VerifiedModel {
  readonly model: string
  readonly fingerprint: string
  readonly dims: number
  readonly detector: string | null
  readonly embedder: string
}

/** The model sets there are. @throws FreshetError `model-invalid` when a file differs from its digest */
export async function verifiedModels(store: ModelStore): Promise<readonly VerifiedModel[]> {
  const sets = await Promise.all((await store.names()).map(name => store.open(name)))
  return sets.map(({ name, fingerprint, dims, detector, embedder }) => {
    return { model: name, fingerprint, dims, detector: detector?.id ?? null, embedder: embedder.id }
  })
}

/**
 * Runs a model set, named or lying in a directory, and compares what this machine computes with its golden results.
 * @throws FreshetError `model-invalid` when it is not what its manifest says
 */
export async function goldenResults(store: ModelStore, model: string): Promise<readonly GoldenResult[]> {
  const isDirectory = /[./\\]/.test(model)
  const set = isDirectory
    ? await openModelSet(model, chosenSet(await readModelManifest(model), undefined))
    : await store.open(model)
  return (await tryModel(set, onnxRuntime)).goldens
}
