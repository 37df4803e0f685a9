import type { AnalysedImage, ImageBytes, ImageModel, QuerySelection } from '../schemas/image-analysis.ts'
import { inChildSpan, notePastWork } from '../schemas/trace-span.ts'

/** What a model sees in a query's picture; where the query is traced, the model's steps are spans. @throws as `analyse` */
export function tracedAnalysis(
  model: ImageModel,
  question: { readonly image: ImageBytes; readonly selection: QuerySelection },
  signal: AbortSignal,
): Promise<AnalysedImage> {
  return inChildSpan('analyse', { attributes: { 'freshet.model': model.model } }, async span => {
    const analysed = await model.analyse(question.image, question.selection, signal)
    if (span !== undefined) noteSteps(analysed.timingMs)
    return analysed
  })
}

/** One after the other, up to now: the model's process tells how long its steps took, not when they began. */
function noteSteps({ decode, detect, embed }: AnalysedImage['timingMs']): void {
  let beganAtMs = performance.timeOrigin + performance.now() - decode - detect - embed
  const steps = Object.entries({ decode, detect, embed }).map(([name, tookMs]) => {
    const step = { name, beganAtMs, tookMs }
    beganAtMs += tookMs
    return step
  })
  notePastWork(steps.filter(({ tookMs }) => tookMs > 0))
}
