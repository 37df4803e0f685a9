import { expect, test } from 'vitest'
import { norm } from '../schemas/unit-vector.ts'
import { BarePipeline } from './bare-pipeline.ts'
import { patternPixels } from './golden-check.ts'
import { openModelSet } from './model-manifest.ts'
import { tryModel } from './model-trial.ts'
import { onnxRuntime } from './onnx-runtime.ts'
import { clip, type Described, dino, tinyModelDirectory } from './testing/tiny-model.ts'
import type { TinyEncoder } from './testing/tiny-onnx.ts'

const tried = async (encoder: TinyEncoder, described?: Described) =>
  tryModel(await openModelSet(await tinyModelDirectory(encoder, described), 'mine'), onnxRuntime)

test.each<[string, TinyEncoder, Described]>([
  ['CLIP: floats in NCHW, one vector per picture', clip, {}],
  ['DINO: the first token', dino, { output: { pooling: 'first-token' } }],
  ['DINO: the mean of all tokens', dino, { output: { pooling: 'mean-of-tokens' } }],
  ['vectors of unit length', { ...clip, unit: true }, { output: { normalised: 'L2' } }],
])('an encoder of others works by its manifest alone, %s', async (_, encoder, described) => {
  const { goldens } = await tried(encoder, described)
  expect(goldens).toHaveLength(1)
})

test('pooling and pixel form are what they are called', async () => {
  const vectors = async (described: Described) => {
    const set = await openModelSet(await tinyModelDirectory(dino, described), 'mine')
    const pipeline = await BarePipeline.open(set, onnxRuntime)
    const [vector] = await pipeline.embedCrops(patternPixels(dino.size), 1)
    await pipeline.close()
    expect(norm(vector!)).toBeCloseTo(1, 5)
    return [vector!, set.fingerprint] as const
  }
  const made = await Promise.all(
    [
      { output: { pooling: 'first-token' } },
      { output: { pooling: 'mean-of-tokens' } },
      { output: { pooling: 'first-token' }, input: { mean: [0, 0, 0] } },
      { output: { pooling: 'first-token' }, input: { scale: 1 } },
      { output: { pooling: 'first-token' }, input: { std: [1, 1, 1] } },
    ].map(vectors),
  )
  expect(new Set(made.map(([vector]) => vector.map(each => Math.fround(each)).join())).size).toBe(made.length)
  expect(new Set(made.map(([, fingerprint]) => fingerprint)).size).toBe(made.length)
})

test.each<[string, TinyEncoder, Described, RegExp]>([
  ['another dimension', clip, { output: { dims: 24 } }, /as \[3, 16\], its manifest means \[3, 24\]/],
  ['tokens where it means one vector', dino, {}, /as \[3, 5, 16\]/],
  ['no output of that name', clip, { output: { name: 'embedding' } }, /no output embedding; there are image_embeds/],
  ['a golden vector it does not give', clip, { expect: [0.9, 0.1] }, /misses its golden vector/],
  ['numbers that are not finite', { ...clip, broken: true }, {}, /not finite/],
  ['vectors that are not of unit length', clip, { output: { normalised: 'L2' } }, /of length .* says unit length/],
  ['bytes where the model takes floats', clip, { input: { dtype: 'uint8' } }, /did not run/],
  ['another layout', clip, { input: { layout: 'NHWC' } }, /did not run/],
])('a manifest that lies is refused with what the model does instead: %s', async (_, encoder, described, reason) => {
  await expect(tried(encoder, described)).rejects.toMatchObject({
    code: 'model-invalid',
    message: expect.stringMatching(reason),
  })
})

test('a model that sees nothing is refused', async () => {
  await expect(tried(clip, { input: { scale: 1e-30, mean: [1, 1, 1], std: [1, 1, 1] } })).rejects.toMatchObject({
    message: expect.stringMatching(/the same vector whatever the picture/),
  })
})
