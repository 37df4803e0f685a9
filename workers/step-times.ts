import type { StepTime } from '../schemas/image-analysis.ts'

/** Takes the time of the parts of one piece of work. */
export class StepTimes {
  readonly steps: StepTime[] = []

  /** @throws what the work throws, which is not noted then */
  async take<T>(name: StepTime['name'], work: () => Promise<T>): Promise<T> {
    const began = performance.now()
    const result = await work()
    this.steps.push({ name, beganAtMs: performance.timeOrigin + began, tookMs: performance.now() - began })
    return result
  }
}
