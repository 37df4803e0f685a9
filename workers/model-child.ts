import { BarePipeline } from './bare-pipeline.ts'
import { checkGoldens } from './golden-check.ts'
import { openModelSet } from './model-manifest.ts'
import { onnxRuntime } from './onnx-runtime.ts'
import { servePictures } from './picture-server.ts'

/** Entry of a model process: model directory, name of the set, most pixels of a picture, goldens to be checked. */
const [directory = '', setName = '', maxPixels = '', goldens = ''] = process.argv.slice(2)

await servePictures(async () => {
  const set = await openModelSet(directory, setName)
  const pipeline = await BarePipeline.open(set, onnxRuntime, { maxPixels: Number(maxPixels) })
  await checkGoldens(pipeline, goldens === 'all' ? 'all' : 'pattern')
  return pipeline
})
