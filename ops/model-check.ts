import { BarePipeline } from '../workers/bare-pipeline.ts'
import { checkGoldens, type GoldenResult } from '../workers/golden-check.ts'
import { bundledModels, modelSetNames, openModelSet } from '../workers/model-manifest.ts'
import { onnxRuntime } from '../workers/onnx-runtime.ts'

export interface VerifiedModel {
  readonly model: string
  readonly fingerprint: string
  readonly dims: number
  readonly detector: string
  readonly embedder: string
}

/** The model sets that come with Freshet. @throws FreshetError `model-invalid` when a file differs from its digest */
export async function verifiedModels(): Promise<readonly VerifiedModel[]> {
  const names = await modelSetNames(bundledModels)
  const sets = await Promise.all(names.map(name => openModelSet(bundledModels, name)))
  return sets.map(({ name, fingerprint, dims, detector, embedder }) => {
    return { model: name, fingerprint, dims, detector: detector.id, embedder: embedder.id }
  })
}

/** What this machine computes for the golden inputs. @throws FreshetError `model-invalid` when one is missed */
export async function goldenResults(name: string): Promise<readonly GoldenResult[]> {
  const pipeline = await BarePipeline.open(await openModelSet(bundledModels, name), onnxRuntime)
  try {
    return await checkGoldens(pipeline, 'all')
  } finally {
    await pipeline.close()
  }
}
