import { FreshetError } from '../schemas/errors.ts'
import { dot, norm, normalise } from '../schemas/unit-vector.ts'
import { BarePipeline } from './bare-pipeline.ts'
import { checkGoldens, type GoldenResult, patternPixels } from './golden-check.ts'
import type { ModelSet } from './model-manifest.ts'
import type { ModelRuntime } from './model-runtime.ts'

/** What running a model set has shown. */
export interface ModelTrial {
  readonly goldens: readonly GoldenResult[]
  /** Least and largest length of the vectors as the model gives them. */
  readonly norms: { readonly min: number; readonly max: number }
}

const lengthTolerance = 1e-2
/** A vector may not depend on what else is in its batch; runtimes add in another order. */
const batchTolerance = 5e-3
/** Cosine above which two pictures that have nothing in common count as the same. */
const sameCosine = 0.9999

/**
 * Runs a model set on made-up pictures and on its goldens: whether it is what its manifest says.
 * @throws FreshetError `model-invalid` with what it does instead
 */
export async function tryModel(set: ModelSet, runtime: ModelRuntime): Promise<ModelTrial> {
  const pipeline = await BarePipeline.open(set, runtime)
  try {
    const { size } = set.embedder.input
    const pictures = [patternPixels(size), noisePixels(size, 1), noisePixels(size, 2)]
    const together = await pipeline.rawVectors(Buffer.concat(pictures), pictures.length)
    const alone = await pipeline.rawVectors(pictures[1]!, 1)
    requireFinite(set, [...together, ...alone])
    const norms = together.map(norm)
    requireLength(set, norms)
    const units = together.map(vector => normalise(vector.slice()))
    if (Math.abs(dot(units[1]!, normalise(alone[0]!.slice())) - 1) > batchTolerance)
      throw invalid(set, 'gives another vector for a picture when it is in a batch')
    if (dot(units[0]!, units[1]!) > sameCosine && dot(units[1]!, units[2]!) > sameCosine)
      throw invalid(set, 'gives the same vector whatever the picture')
    const goldens = await checkGoldens(pipeline, 'all')
    return { goldens, norms: { min: Math.min(...norms), max: Math.max(...norms) } }
  } finally {
    await pipeline.close()
  }
}

function requireFinite(set: ModelSet, vectors: readonly Float32Array[]): void {
  const areFinite = vectors.every(vector => vector.every(Number.isFinite))
  if (!areFinite) throw invalid(set, 'gives numbers that are not finite')
}

function requireLength(set: ModelSet, norms: readonly number[]): void {
  const { normalised } = set.embedder.output
  const off = norms.find(length => (normalised === 'L2' ? Math.abs(length - 1) > lengthTolerance : length < 1e-6))
  if (off === undefined) return
  const meant = normalised === 'L2' ? ', its manifest says unit length ("normalised": "L2")' : ': there is no direction'
  throw invalid(set, `gives a vector of length ${off.toPrecision(4)}${meant}`)
}

/** Different from each other, the same everywhere. */
function noisePixels(size: number, seed: number): Uint8Array {
  let state = seed
  return Uint8Array.from({ length: size * size * 3 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 24
  })
}

function invalid({ embedder }: ModelSet, what: string): FreshetError {
  return new FreshetError('model-invalid', `${embedder.id} ${what}`)
}
