import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryDirectory } from './temporary-directory.ts'
import { type TinyEncoder, tinyInput, tinyOnnx, tinyOutput } from './tiny-onnx.ts'

export const clip: TinyEncoder = { size: 8, dims: 16 }
export const dino: TinyEncoder = { size: 8, dims: 16, tokens: 5 }
/** As `preprocessor_config.json` of such models has it. */
const form = {
  dtype: 'float32',
  layout: 'NCHW',
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
}

export interface Described {
  readonly input?: object
  readonly output?: object
  readonly expect?: readonly number[]
  /** Of the set; `mine` when left out. */
  readonly name?: string
}

/** A model directory with one encoder, no detector, and a golden vector that fits unless told otherwise. */
export async function tinyModelDirectory(encoder: TinyEncoder, described: Described = {}): Promise<string> {
  const directory = await temporaryDirectory()
  const bytes = tinyOnnx(encoder)
  await writeFile(join(directory, 'encoder.onnx'), bytes)
  const embedder = {
    id: 'encoder',
    task: 'embed',
    file: 'encoder.onnx',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    input: {
      name: tinyInput,
      size: encoder.size,
      decode: 'decode-v1',
      crop: 'crop-square-v1',
      ...form,
      ...described.input,
    },
    output: { name: tinyOutput(encoder), dims: encoder.dims, normalised: 'none', ...described.output },
    golden: [{ input: 'pattern', expect: described.expect ?? [0], tolerance: described.expect ? 1e-3 : 2 }],
  }
  const manifest = { format: 1, sets: { [described.name ?? 'mine']: { embedder: 'encoder' } }, models: [embedder] }
  await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest))
  return directory
}
