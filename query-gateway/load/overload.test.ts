import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { QueryLane } from './query-lane.ts'

/** In the time of a clock moved by hand: what the bench `overload` measures of a whole server, of the lane alone. */

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

const places = 6
const meanServiceMs = 300
const capacityPerSecond = (1_000 * places) / meanServiceMs
const minuteMs = 60_000
const never = new AbortController().signal

interface Answer {
  readonly dueMs: number
  readonly tookMs: number
  readonly isAnswered: boolean
}

/** Linear congruential: plenty for times between arrivals. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

class Scene {
  readonly random = randomOf(7)
  readonly lane = new QueryLane({ maxRunning: places, maxWaiting: 256, maxWaitMs: 1_000 }, () => Date.now(), {
    waited: () => undefined,
    refused: () => undefined,
  })

  /** Arrivals at random for a minute; resolves when all are answered. */
  async offered(perSecond: number): Promise<readonly Answer[]> {
    const answers: Promise<Answer>[] = []
    const began = Date.now()
    for (let dueMs = 0; dueMs < minuteMs; dueMs += (-Math.log(1 - this.random()) * 1_000) / perSecond) {
      await vi.advanceTimersByTimeAsync(Math.max(0, Math.round(dueMs) - (Date.now() - began)))
      answers.push(this.#one(Date.now() - began))
    }
    await vi.advanceTimersByTimeAsync(10_000)
    return Promise.all(answers)
  }

  async #one(dueMs: number): Promise<Answer> {
    const at = Date.now()
    const serviceMs = Math.round(meanServiceMs * (0.5 + this.random()))
    const query = () => new Promise<void>(resolve => setTimeout(resolve, serviceMs))
    const outcome = await this.lane.run(query, { patienceMs: 10_000, signal: never }).then(
      () => true,
      () => false,
    )
    return { dueMs, tookMs: Date.now() - at, isAnswered: outcome }
  }
}

const p99 = (answers: readonly Answer[]): number => {
  const times = answers.filter(({ isAnswered }) => isAnswered).map(({ tookMs }) => tookMs)
  return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!
}
const perSecond = (answers: readonly Answer[]): number =>
  answers.filter(({ isAnswered }) => isAnswered).length / (minuteMs / 1_000)

test.each([1.2, 3, 20])(
  'at %d times what it can take, a lane gives as much as it can, and late to nobody',
  async times => {
    const scene = new Scene()
    // Half of what it can take, to learn how long queries take.
    const calm = await scene.offered(capacityPerSecond / 2)
    expect(calm.filter(({ isAnswered }) => !isAnswered).length).toBeLessThan(calm.length / 100)
    const overloaded = await scene.offered(times * capacityPerSecond)
    expect(perSecond(overloaded) / capacityPerSecond).toBeGreaterThan(0.95)
    // Of queries that run alone, half take up to the mean and none more than one and a half of it.
    expect(p99(overloaded)).toBeLessThanOrEqual(2 * 1.5 * meanServiceMs)
    const after = await scene.offered(capacityPerSecond / 2)
    const late = after.filter(({ dueMs }) => dueMs > 1_000)
    expect(late.filter(({ isAnswered }) => !isAnswered).length).toBeLessThan(late.length / 100)
  },
)
