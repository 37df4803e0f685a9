import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import type { AnalysedImage, DetectedObject, IndexedImage, QuerySelection } from '../schemas/image-analysis.ts'
import type { Box } from '../schemas/mutation.ts'
import { encodeF16, normalise } from '../schemas/unit-vector.ts'
import type { ModelSet } from './model-manifest.ts'
import type { ModelRuntime, ModelSession } from './model-runtime.ts'
import { indexedObjects, salientObject, wholePicture } from './object-policy.ts'
import { decodePicture, type Pixels } from './preprocess/decode.ts'
import { modelInput } from './preprocess/model-input.ts'
import { pooledVectors } from './preprocess/pooled-vectors.ts'
import { cropSquare, stretch } from './preprocess/resample.ts'
import { StepTimes } from './step-times.ts'

/**
 * Crops per run of the embedder. Measured on one thread: 3.7 ms a crop alone, 3.4 in fours, 3.7 in eights; and a query
 * waits for one run at most.
 */
const cropsPerRun = 4

/** Awaited before every step (decode, detect, a few crops), so that a caller can let something else go first. */
export type BeforeStep = () => Promise<void>

export interface PipelineOptions {
  readonly maxPixels?: number
}

export interface DetectorOutputs {
  /** Four numbers an object: left, top, right, bottom as fractions. */
  readonly boxes: Float32Array
  readonly scores: Float32Array
  readonly classes: Int32Array
}

/**
 * Decode, detect, crop, embed of one picture at a time, in this process: what the model processes run, what the
 * benches call the bare loop, and the one route that both indexing and queries take.
 */
export class BarePipeline {
  readonly set: ModelSet
  /** Null: the set has none. */
  readonly #detector: ModelSession | null
  readonly #embedder: ModelSession
  readonly #maxPixels: number | undefined

  private constructor(set: ModelSet, sessions: readonly [ModelSession | null, ModelSession], options: PipelineOptions) {
    this.set = set
    this.#detector = sessions[0]
    this.#embedder = sessions[1]
    this.#maxPixels = options.maxPixels
  }

  /** @throws FreshetError `model-invalid` */
  static async open(set: ModelSet, runtime: ModelRuntime, options: PipelineOptions = {}): Promise<BarePipeline> {
    const detector = set.detector && (await runtime.load(join(set.directory, set.detector.file)))
    const embedder = await runtime.load(join(set.directory, set.embedder.file))
    return new BarePipeline(set, [detector, embedder], options)
  }

  /**
   * Objects of a picture with their vectors.
   * @throws FreshetError image-* codes; `image-corrupt` also when the bytes do not have the digest
   */
  async index(bytes: Uint8Array, digest: ImageDigest, beforeStep: BeforeStep = atOnce): Promise<IndexedImage> {
    await beforeStep()
    verifyDigest(bytes, digest)
    const times = new StepTimes()
    const pixels = await times.take('decode', () => decodePicture(bytes, this.#maxPixels))
    await beforeStep()
    const objects = indexedObjects(await times.take('detect', () => this.detect(pixels)))
    const boxes = objects.map(object => object.box)
    const vectors = await this.embed(pixels, boxes, beforeStep, times)
    return {
      digest,
      width: pixels.width,
      height: pixels.height,
      objects: objects.map((object, i) => ({ ...object, vector: encodeF16(vectors[i]!) })),
      steps: times.steps,
    }
  }

  /** What a query wants to know of a picture. @throws FreshetError image-* codes, `object-not-found` */
  async analyse(bytes: Uint8Array, selection: QuerySelection, beforeStep: BeforeStep = atOnce): Promise<AnalysedImage> {
    await beforeStep()
    const began = performance.now()
    const pixels = await decodePicture(bytes, this.#maxPixels)
    const decoded = performance.now()
    await beforeStep()
    const objects = await this.detect(pixels)
    const detected = performance.now()
    const searched = select(selection, objects)
    const vectors = searched ? await this.embed(pixels, [searched.box], beforeStep) : []
    const embedded = performance.now()
    return {
      width: pixels.width,
      height: pixels.height,
      objects,
      searched,
      vector: vectors[0] ?? null,
      timingMs: { decode: decoded - began, detect: detected - decoded, embed: embedded - detected },
    }
  }

  /** The detector's boxes, best first, above the manifest's score and at most as many as it says. */
  async detect(pixels: Pixels): Promise<readonly DetectedObject[]> {
    const raw = await this.detectRaw(pixels)
    if (raw === null) return []
    const { classes, defaultScore, defaultMax } = this.set.detector!.output
    const objects: DetectedObject[] = []
    raw.scores.forEach((score, i) => {
      const box = [...raw.boxes.subarray(4 * i, 4 * i + 4)] as [number, number, number, number]
      const hasArea = box[0] < box[2] && box[1] < box[3]
      if (score >= defaultScore && hasArea) objects.push({ box, label: classes.names[raw.classes[i]!] ?? '', score })
    })
    return objects.slice(0, defaultMax)
  }

  /** The detector's outputs as the graph gives them; null without one. */
  async detectRaw(pixels: Pixels): Promise<DetectorOutputs | null> {
    if (this.set.detector === null || this.#detector === null) return null
    const { input } = this.set.detector
    const data = await stretch(pixels, input.size)
    const { boxes, scores, classes } = await this.#detector.run(input.name, {
      data,
      shape: [1, input.size, input.size, 3],
    })
    const complete =
      boxes?.data instanceof Float32Array && scores?.data instanceof Float32Array && classes?.data instanceof Int32Array
    if (!complete) throw new FreshetError('model-invalid', 'the detector lacks an output of boxes, scores or classes')
    return { boxes: boxes.data, scores: scores.data, classes: classes.data } as DetectorOutputs
  }

  /** Unit vectors of what is in the boxes, in their order. */
  async embed(
    pixels: Pixels,
    boxes: readonly Box[],
    beforeStep: BeforeStep = atOnce,
    times = new StepTimes(),
  ): Promise<readonly Float32Array[]> {
    const { size } = this.set.embedder.input
    const vectors: Float32Array[] = []
    for (let from = 0; from < boxes.length; from += cropsPerRun) {
      await beforeStep()
      const some = boxes.slice(from, from + cropsPerRun)
      const crops = await times.take('crop', () => Promise.all(some.map(box => cropSquare(pixels, box, size))))
      vectors.push(...(await times.take('embed', () => this.embedCrops(Buffer.concat(crops), some.length))))
    }
    return vectors
  }

  /** Unit vectors of crops that lie behind each other in `data`, each `size` × `size` × 3 bytes. */
  async embedCrops(data: Uint8Array, count: number): Promise<readonly Float32Array[]> {
    return (await this.rawVectors(data, count)).map(normalise)
  }

  /** Vectors as the model gives them, for checks. @throws FreshetError `model-invalid` */
  async rawVectors(data: Uint8Array, count: number): Promise<readonly Float32Array[]> {
    const { input, output } = this.set.embedder
    const outputs = await this.#embedder.run(input.name, modelInput(data, input))
    return pooledVectors(outputs, output, count)
  }

  async close(): Promise<void> {
    await Promise.all([this.#detector?.close(), this.#embedder.close()])
  }
}

const atOnce: BeforeStep = async () => {}

function verifyDigest(bytes: Uint8Array, digest: ImageDigest): void {
  const actual = createHash('sha256').update(bytes).digest('hex')
  if (actual !== digest)
    throw new FreshetError('image-corrupt', `the stored bytes have the SHA-256 ${actual}, expected ${digest}`)
}

function select(selection: QuerySelection, objects: readonly DetectedObject[]): AnalysedImage['searched'] {
  if (selection === 'none') return null
  if (selection === 'whole') return { box: wholePicture, object: null }
  if (selection === 'salient') return chosen(salientObject(objects), objects)
  if ('box' in selection) return { box: selection.box, object: null }
  if (objects[selection.object] === undefined)
    throw new FreshetError('object-not-found', `the picture has ${objects.length} objects, none at ${selection.object}`)
  return chosen(selection.object, objects)
}

function chosen(object: number | null, objects: readonly DetectedObject[]): AnalysedImage['searched'] {
  return object === null ? { box: wholePicture, object } : { box: objects[object]!.box, object }
}
