import { asFreshetError } from '../schemas/errors.ts'
import type { ProofLine, ProofResult, StepProgress } from '../schemas/http-generations.ts'

/** Progress is told again after this: a connection on which nothing moves is cut. */
const repeatMs = 5_000

/**
 * A run as lines: its progress as it comes, of which a slow reader gets the newest, then what came out. Throws what
 * fails before there is progress; a later failure is the last line.
 */
export async function* proofLines(
  run: (onProgress: (progress: StepProgress) => void) => Promise<ProofResult>,
): AsyncGenerator<ProofLine, void> {
  let progress: StepProgress | null = null
  let hasEnded = false
  let news = Promise.withResolvers<void>()
  const result = run(told => {
    progress = told
    news.resolve()
  })
  const end = (): void => {
    hasEnded = true
    news.resolve()
  }
  result.then(end, end)
  let isTold = false
  for (;;) {
    const timer = setTimeout(news.resolve, repeatMs)
    await news.promise
    clearTimeout(timer)
    if (hasEnded) break
    news = Promise.withResolvers()
    if (progress === null) continue
    yield { progress }
    isTold = true
  }
  try {
    yield { result: await result }
  } catch (thrown) {
    if (!isTold) throw thrown
    yield { error: asFreshetError(thrown).toBody().error }
  }
}
