import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ImageDigest } from '../../schemas/ids.ts'
import { BarePipeline } from '../../workers/bare-pipeline.ts'
import { bundledModels, openModelSet } from '../../workers/model-manifest.ts'
import { onnxRuntime } from '../../workers/onnx-runtime.ts'

export interface BareRequest {
  readonly type: 'index' | 'analyse'
  readonly path: string
}

export interface BareAnswer {
  readonly tookMs: number
}

const [, , model = 'v1'] = process.argv
const pipeline = await BarePipeline.open(await openModelSet(bundledModels, model), onnxRuntime)

process.on('message', async (request: BareRequest) => {
  const began = performance.now()
  const bytes = readFileSync(request.path)
  if (request.type === 'analyse') await pipeline.analyse(bytes, 'salient')
  else await pipeline.index(bytes, createHash('sha256').update(bytes).digest('hex') as ImageDigest)
  process.send?.({ tookMs: performance.now() - began } satisfies BareAnswer)
})
process.on('disconnect', () => process.exit(0))
process.send?.({ tookMs: 0 } satisfies BareAnswer)
