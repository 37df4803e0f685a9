import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint } from '../schemas/ids.ts'
import { objectPolicy } from './object-policy.ts'
import { cropPolicy, decodePolicy, stretchPolicy } from './preprocess/policies.ts'

const positive = Type.Number({ exclusiveMinimum: 0 })
const golden = Type.Object({
  input: Type.String(),
  box: Type.Optional(
    Type.Union([Type.Null(), Type.Tuple([Type.Number(), Type.Number(), Type.Number(), Type.Number()])]),
  ),
  expect: Type.Array(Type.Number(), { minItems: 1 }),
  tolerance: Type.Number({ exclusiveMinimum: 0 }),
  fileSha256: Type.Optional(Type.String()),
})
const file = { id: Type.String(), file: Type.String({ pattern: '^\\w[\\w.-]*$' }), sha256: Type.String() }
const detector = Type.Object({
  ...file,
  task: Type.Literal('detect'),
  input: Type.Object({
    name: Type.String(),
    size: Type.Integer(),
    decode: Type.Literal(decodePolicy),
    crop: Type.Literal(stretchPolicy),
  }),
  output: Type.Object({
    classes: Type.Object({ names: Type.Array(Type.String()) }),
    defaultScore: Type.Number(),
    defaultMax: Type.Integer(),
  }),
  golden: Type.Array(golden),
})
const perChannel = Type.Tuple([Type.Number(), Type.Number(), Type.Number()])
const embedder = Type.Object({
  ...file,
  task: Type.Literal('embed'),
  input: Type.Object({
    name: Type.String(),
    size: Type.Integer({ minimum: 1, maximum: 2_048 }),
    decode: Type.Literal(decodePolicy),
    crop: Type.Literal(cropPolicy),
    boxExpansion: Type.Optional(Type.Literal(1)),
    dtype: Type.Optional(Type.Union([Type.Literal('uint8'), Type.Literal('float32')])),
    layout: Type.Optional(Type.Union([Type.Literal('NHWC'), Type.Literal('NCHW')])),
    scale: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
    mean: Type.Optional(perChannel),
    std: Type.Optional(Type.Tuple([positive, positive, positive])),
  }),
  output: Type.Object({
    name: Type.String(),
    dims: Type.Integer({ minimum: 8, maximum: 1_024, multipleOf: 8 }),
    normalised: Type.Union([Type.Literal('L2'), Type.Literal('none')]),
    pooling: Type.Optional(
      Type.Union([Type.Literal('none'), Type.Literal('first-token'), Type.Literal('mean-of-tokens')]),
    ),
  }),
  golden: Type.Array(golden, { minItems: 1 }),
})
/** As generations are named. */
const modelNamePattern = '^[a-z0-9-]{1,40}$'
const manifestShape = Type.Object({
  format: Type.Literal(1),
  sets: Type.Record(
    Type.String({ pattern: modelNamePattern }),
    Type.Object({ detector: Type.Optional(Type.String()), embedder: Type.String() }),
    // A name becomes a directory: others are refused, not passed over.
    { additionalProperties: false },
  ),
  models: Type.Array(Type.Union([detector, embedder])),
})

export type Golden = Static<typeof golden>
export type DetectorManifest = Static<typeof detector>
export type EmbedderManifest = Static<typeof embedder>

/** The models of one generation, verified against their digests. */
export interface ModelSet {
  /** Such as `v1`. */
  readonly name: string
  readonly directory: string
  /** Null: every picture is one object. */
  readonly detector: DetectorManifest | null
  readonly embedder: EmbedderManifest
  readonly fingerprint: Fingerprint
  readonly dims: number
}

/** Where the models that come with Freshet lie. */
export const bundledModels = fileURLToPath(new URL('./models/', import.meta.url))

/**
 * Reads `manifest.json` of a model directory, picks a set and verifies its files.
 * @throws FreshetError `model-invalid` on an unreadable manifest, an unknown set, a policy this code does not have, a
 * missing file or a digest that differs
 */
export async function openModelSet(directory: string, name: string): Promise<ModelSet> {
  const chosen = setOf(await readModelManifest(directory), name)
  await Promise.all(partsOf(chosen).map(part => verifyFile(directory, part)))
  return { name, directory, ...chosen, fingerprint: fingerprintOf(chosen), dims: chosen.embedder.output.dims }
}

/** Names of the model sets in a model directory. @throws FreshetError `model-invalid` */
export async function modelSetNames(directory: string): Promise<readonly string[]> {
  return Object.keys((await readModelManifest(directory)).sets)
}

/**
 * SHA-256 over everything that decides what a vector means: two sets with equal fingerprints give comparable vectors
 * for the same picture, and no others do. The keys are listed in the order they are hashed.
 */
export function fingerprintOf(set: Pick<ModelSet, 'detector' | 'embedder'>): Fingerprint {
  const { detector, embedder } = set
  const canonical = JSON.stringify({
    crop: embedder.input.crop,
    cropSize: embedder.input.size,
    decode: decodePolicy,
    detector: detector?.sha256 ?? null,
    detectorInput: detector?.input.crop,
    detectorMaxObjects: detector?.output.defaultMax,
    detectorScore: detector?.output.defaultScore,
    detectorSize: detector?.input.size,
    dims: embedder.output.dims,
    embedder: embedder.sha256,
    objects: objectPolicy,
    output: 'f16',
    ...unusual(embedder),
  })
  return createHash('sha256').update(canonical).digest('hex') as Fingerprint
}

/** What differs from bytes in NHWC and one vector per picture: left out where it does not, as in the first manifests. */
function unusual({ input, output }: EmbedderManifest): object {
  const { dtype = 'uint8', layout = 'NHWC', scale, mean, std } = input
  const { pooling = 'none' } = output
  return {
    ...(dtype === 'uint8' ? {} : { pixels: dtype, scale: scale ?? null, mean: mean ?? null, std: std ?? null }),
    ...(layout === 'NHWC' ? {} : { layout }),
    ...(pooling === 'none' ? {} : { pooling }),
  }
}

/** Its models, each with a file. */
export function partsOf({ detector, embedder }: Pick<ModelSet, 'detector' | 'embedder'>): readonly AnyModel[] {
  return detector === null ? [embedder] : [detector, embedder]
}

export type ModelManifest = Static<typeof manifestShape>

/** The models of a set, whose files may not be there. @throws FreshetError `model-invalid` when the manifest has no such set */
export function setOf(manifest: ModelManifest, name: string): Pick<ModelSet, 'detector' | 'embedder'> {
  const members = manifest.sets[name]
  if (members === undefined) {
    const known = Object.keys(manifest.sets).join(', ')
    throw new FreshetError('model-invalid', `there is no model set ${name}; known are ${known}`)
  }
  return {
    detector: members.detector === undefined ? null : find(manifest.models, 'detect', members.detector),
    embedder: find(manifest.models, 'embed', members.embedder),
  }
}

/** @throws FreshetError `model-invalid` when there is none, or it has another shape */
export async function readModelManifest(directory: string): Promise<ModelManifest> {
  const path = join(directory, 'manifest.json')
  const text = await readFile(path, 'utf8').catch(cause => {
    throw new FreshetError('model-invalid', `${path} cannot be read`, { cause })
  })
  const manifest = parseJson(text, path)
  if (Value.Check(manifestShape, manifest)) return manifest
  const first = Value.Errors(manifestShape, manifest).First()
  throw new FreshetError('model-invalid', `${path}: ${first?.path ?? ''} ${first?.message ?? 'has the wrong shape'}`)
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FreshetError('model-invalid', `${path} is not JSON`, { cause })
  }
}

export type AnyModel = DetectorManifest | EmbedderManifest

function find<T extends AnyModel['task']>(models: AnyModel[], task: T, id: string): Extract<AnyModel, { task: T }> {
  const model = models.find(candidate => candidate.task === task && candidate.id === id)
  if (model === undefined) throw new FreshetError('model-invalid', `the manifest has no model ${id} to ${task}`)
  return model as Extract<AnyModel, { task: T }>
}

async function verifyFile(directory: string, model: AnyModel): Promise<void> {
  const path = join(directory, model.file)
  const bytes = await readFile(path).catch(cause => {
    throw new FreshetError('model-invalid', `${path} cannot be read`, { cause })
  })
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 !== model.sha256)
    throw new FreshetError('model-invalid', `${path} has the SHA-256 ${sha256}, its manifest says ${model.sha256}`)
}
