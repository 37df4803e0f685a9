import { FreshetError } from '../../schemas/errors.ts'
import type { EmbedderManifest } from '../model-manifest.ts'
import type { Tensor } from '../model-runtime.ts'

/**
 * One vector per picture of what an embedder gave: [n, dims], or [n, tokens, dims] of which the first token or the
 * mean is taken, as CLIP and DINO style encoders are exported.
 * @throws FreshetError `model-invalid` when the output is missing or has another shape
 */
export function pooledVectors(
  outputs: Readonly<Record<string, Tensor>>,
  { name, dims, pooling = 'none' }: EmbedderManifest['output'],
  count: number,
): readonly Float32Array[] {
  const given = outputs[name]
  if (given === undefined)
    throw invalid(`has no output ${name}; there are ${Object.keys(outputs).join(', ') || 'none'}`)
  const { data, shape } = given
  const tokens = pooling === 'none' ? 1 : (shape[1] ?? 0)
  const expected = pooling === 'none' ? [count, dims] : [count, tokens, dims]
  if (!(data instanceof Float32Array)) throw invalid(`gives ${name} as something else than float32`)
  if (shape.join() !== expected.join() || tokens < 1)
    throw invalid(`gives ${name} as [${shape.join(', ')}], its manifest means [${expected.join(', ')}]`)
  return Array.from({ length: count }, (_, i) => {
    const at = i * tokens * dims
    return pooling === 'mean-of-tokens'
      ? meanOf(data.subarray(at, at + tokens * dims), dims)
      : data.slice(at, at + dims)
  })
}

function meanOf(tokens: Float32Array, dims: number): Float32Array {
  const mean = new Float32Array(dims)
  const count = tokens.length / dims
  for (let at = 0; at < tokens.length; at++) mean[at % dims]! += tokens[at]! / count
  return mean
}

function invalid(what: string): FreshetError {
  return new FreshetError('model-invalid', `the embedder ${what}`)
}
