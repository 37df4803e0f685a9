import { createHash } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { seededRandom } from '../../topologies/generations/canary/seeded-random.ts'
import { bundledModels } from '../../workers/model-manifest.ts'

export interface Sabotage {
  readonly embedder: 'embedder-v1' | 'embedder-v2'
  /**
   * `forgetful`: all weights in another order: the same sizes and numbers, deterministic, of unit length, and nothing
   * is left of what was learnt. `mirrored`: red and blue are mixed up, in indexing and in queries alike.
   */
  readonly kind: 'forgetful' | 'mirrored'
}

/**
 * A directory with a copy of a bundled embedder that is not what it was. Golden vectors are taken back, so that it
 * loads: set `sabotaged`, without a detector.
 */
export async function sabotagedModel(directory: string, { embedder, kind }: Sabotage): Promise<void> {
  await cp(bundledModels, directory, { recursive: true })
  const path = join(directory, `${embedder}.onnx`)
  const bytes = await readFile(path)
  const weights = weightsOf(bytes)
  if (kind === 'forgetful') forget(bytes, weights)
  else mirrorChannels(bytes, weights)
  await writeFile(path, bytes)
  const manifest = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8'))
  for (const model of manifest.models)
    if (model.id === embedder) {
      model.sha256 = createHash('sha256').update(bytes).digest('hex')
      model.golden = [{ input: 'pattern', expect: [0], tolerance: 2 }]
    }
  manifest.sets = { sabotaged: { embedder } }
  await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest))
}

/** Smaller tensors are scales and shapes. */
const leastNumbers = 200

function forget(bytes: Uint8Array, weights: readonly Weights[]): void {
  const random = seededRandom(1)
  for (const { from, length, width } of weights)
    if (length / width >= leastNumbers) shuffle(bytes.subarray(from, from + length), width, random)
}

/** In the first convolution: the one tensor of outputs × 3 channels × height × width. */
function mirrorChannels(bytes: Uint8Array, weights: readonly Weights[]): void {
  const { from, width, dims } = weights.find(tensor => tensor.dims.length === 4 && tensor.dims[1] === 3)!
  const [outputs, channels, height, across] = dims as [number, number, number, number]
  const plane = height * across * width
  for (let output = 0; output < outputs; output++) {
    const red = from + output * channels * plane
    const blue = red + 2 * plane
    const kept = bytes.slice(red, red + plane)
    bytes.copyWithin(red, blue, blue + plane)
    bytes.set(kept, blue)
  }
}

interface Weights {
  readonly from: number
  readonly length: number
  /** Bytes of a number. */
  readonly width: number
  readonly dims: readonly number[]
}

const dataTypes: ReadonlyMap<number, number> = new Map([
  [1, 4],
  [10, 2],
])
/** Where the tensors of an ONNX file lie: graph (7) of the model, initializers (5) of the graph. */
function weightsOf(file: Uint8Array): readonly Weights[] {
  const graph = fieldsOf(file, 0, file.length).find(({ field }) => field === 7)!
  const initializers = fieldsOf(file, graph.from, graph.to).filter(({ field }) => field === 5)
  return initializers.flatMap(({ from, to }) => {
    const fields = fieldsOf(file, from, to)
    const width = dataTypes.get(fields.find(({ field }) => field === 2)?.value ?? 0)
    const raw = fields.find(({ field }) => field === 9)
    if (width === undefined || raw === undefined) return []
    return [{ from: raw.from, length: raw.to - raw.from, width, dims: dimsOf(file, fields) }]
  })
}

/** One by one, or packed. */
function dimsOf(file: Uint8Array, fields: readonly Field[]): readonly number[] {
  return fields
    .filter(({ field }) => field === 1)
    .flatMap(({ value, from, to }) => (from === to ? [value] : varintsOf(file, from, to)))
}

interface Field {
  readonly field: number
  readonly value: number
  readonly from: number
  readonly to: number
}

/** Of a protobuf message: numbers by their value, everything of a length by where it lies. */
function fieldsOf(file: Uint8Array, from: number, to: number): readonly Field[] {
  const fields: Field[] = []
  let at = from
  while (at < to) {
    const [tag, afterTag] = varintAt(file, at)
    const [field, kind] = [Math.floor(tag / 8), tag % 8]
    const [value, next] = kind === 0 || kind === 2 ? varintAt(file, afterTag) : [kind === 1 ? 8 : 4, afterTag]
    at = kind === 0 ? next : next + value
    fields.push({ field, value, from: next, to: at })
  }
  return fields
}

function varintsOf(file: Uint8Array, from: number, to: number): readonly number[] {
  const values: number[] = []
  for (let at = from; at < to; ) {
    const [value, next] = varintAt(file, at)
    values.push(value)
    at = next
  }
  return values
}

function varintAt(file: Uint8Array, from: number): readonly [value: number, next: number] {
  let [value, scale, at] = [0, 1, from]
  for (;;) {
    const byte = file[at++]!
    value += (byte & 0x7f) * scale
    if (byte < 0x80) return [value, at]
    scale *= 128
  }
}

function shuffle(bytes: Uint8Array, width: number, random: () => number): void {
  const count = bytes.length / width
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    for (let i = 0; i < width; i++) {
      const [a, b] = [at * width + i, other * width + i]
      ;[bytes[a], bytes[b]] = [bytes[b]!, bytes[a]!]
    }
  }
}
