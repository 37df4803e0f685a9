import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { BarePipeline } from './bare-pipeline.ts'
import type { Golden } from './model-manifest.ts'
import { wholePicture } from './object-policy.ts'
import { decodePicture, type Pixels } from './preprocess/decode.ts'

/** One golden of a manifest and how far this installation's result is from it. */
export interface GoldenResult {
  readonly model: string
  readonly input: string
  /** Largest difference of a component. */
  readonly difference: number
  readonly tolerance: number
}

/**
 * Compares the models with the golden vectors of their manifests: the computed pattern alone (the models), or the
 * pictures in the model directory's `golden/` as well (decoding, resizing and cropping too).
 * @throws FreshetError `model-invalid` naming the first golden that is missed
 */
export async function checkGoldens(
  pipeline: BarePipeline,
  inputs: 'pattern' | 'all',
): Promise<readonly GoldenResult[]> {
  const { detector, embedder } = pipeline.set
  const results: GoldenResult[] = []
  const check = async (model: string, golden: Golden, compute: () => Promise<ArrayLike<number>>) => {
    if (inputs === 'pattern' && golden.input !== 'pattern') return
    results.push(compare(model, golden, await compute()))
  }
  for (const golden of embedder.golden) await check(embedder.id, golden, () => embedGolden(pipeline, golden))
  for (const golden of detector?.golden ?? []) await check(detector!.id, golden, () => detectGolden(pipeline, golden))
  return results
}

function compare(model: string, golden: Golden, actual: ArrayLike<number>): GoldenResult {
  const differences = golden.expect.map((expected, i) => Math.abs(expected - (actual[i] ?? Number.NaN)))
  const difference = Math.max(...differences)
  if (difference <= golden.tolerance) return { model, input: golden.input, difference, tolerance: golden.tolerance }
  throw new FreshetError(
    'model-invalid',
    `${model} misses its golden vector for ${golden.input} by ${difference.toPrecision(3)}, allowed is ${golden.tolerance}`,
  )
}

async function embedGolden(pipeline: BarePipeline, golden: Golden): Promise<Float32Array> {
  if (golden.input === 'pattern') {
    const [vector] = await pipeline.embedCrops(patternPixels(pipeline.set.embedder.input.size), 1)
    return vector!
  }
  const [vector] = await pipeline.embed(await goldenPixels(pipeline, golden), [golden.box ?? wholePicture])
  return vector!
}

/** Count, then score, class and box of the best object. */
async function detectGolden(pipeline: BarePipeline, golden: Golden): Promise<number[]> {
  const raw = (await pipeline.detectRaw(await goldenPixels(pipeline, golden)))!
  return [raw.scores.length, raw.scores[0]!, raw.classes[0]!, ...raw.boxes.subarray(0, 4)]
}

async function goldenPixels(pipeline: BarePipeline, golden: Golden): Promise<Pixels> {
  const path = join(pipeline.set.directory, 'golden', basename(golden.input))
  const bytes = await readFile(path).catch(cause => {
    throw new FreshetError('model-invalid', `the golden picture ${path} cannot be read`, { cause })
  })
  if (createHash('sha256').update(bytes).digest('hex') !== golden.fileSha256)
    throw new FreshetError('model-invalid', `the golden picture ${path} is not the one of the manifest`)
  return decodePicture(bytes)
}

/** Byte at (x, y, c) as the manifests define it. */
export function patternPixels(size: number): Uint8Array {
  const data = new Uint8Array(size * size * 3)
  for (let y = 0, at = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      for (let c = 0; c < 3; c++) data[at++] = (x * 3 + y * 5 + c * 37 + (x >> 4) * (y >> 4) * 29) & 255
  return data
}
