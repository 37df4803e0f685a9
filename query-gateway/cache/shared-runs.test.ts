import { describe, expect, test } from 'vitest'
import { LaterRuns } from './later-runs.ts'
import { SharedRuns } from './shared-runs.ts'

const never = new AbortController().signal

/** Runs that end when the test says so. */
class Runs {
  readonly signals: AbortSignal[] = []
  readonly #ends: PromiseWithResolvers<string>[] = []

  readonly begin = (signal: AbortSignal): Promise<string> => {
    this.signals.push(signal)
    const end = Promise.withResolvers<string>()
    this.#ends.push(end)
    return end.promise
  }

  get count(): number {
    return this.signals.length
  }

  end(run: number, value: string): void {
    this.#ends[run]!.resolve(value)
  }

  fail(run: number): void {
    this.#ends[run]!.reject(new Error(`run ${run}`))
  }
}

describe('runs that are shared', () => {
  test('those who want the same at the same time get one run; others their own', async () => {
    const [shared, runs] = [new SharedRuns<string>(), new Runs()]
    const asked = ['a', 'a', 'b', 'a'].map(key => shared.join(key, never, runs.begin))
    runs.end(0, 'of a')
    runs.end(1, 'of b')
    expect(await Promise.all(asked)).toEqual([
      { value: 'of a', joined: false },
      { value: 'of a', joined: true },
      { value: 'of b', joined: false },
      { value: 'of a', joined: true },
    ])
    expect(runs.count).toBe(2)
  })

  test('the one for whom it began may leave without harm to the others', async () => {
    const [shared, runs, leader] = [new SharedRuns<string>(), new Runs(), new AbortController()]
    const first = shared.join('a', leader.signal, runs.begin)
    const second = shared.join('a', never, runs.begin)
    leader.abort()
    await expect(first).rejects.toMatchObject({ code: 'timeout' })
    expect(runs.signals[0]!.aborted).toBe(false)
    runs.end(0, 'kept')
    expect(await second).toEqual({ value: 'kept', joined: true })
  })

  test('when all have left it is aborted, and who comes then begins anew', async () => {
    const [shared, runs, leaving] = [new SharedRuns<string>(), new Runs(), new AbortController()]
    const left = [1, 2].map(() => shared.join('a', leaving.signal, runs.begin))
    leaving.abort()
    expect((await Promise.allSettled(left)).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(runs.signals[0]!.aborted).toBe(true)
    const next = shared.join('a', never, runs.begin)
    runs.fail(0)
    runs.end(1, 'anew')
    expect(await next).toEqual({ value: 'anew', joined: false })
  })

  test('a failure is that of all who wait, and of nobody after', async () => {
    const [shared, runs] = [new SharedRuns<string>(), new Runs()]
    const failing = [1, 2].map(() => shared.join('a', never, runs.begin))
    runs.fail(0)
    for (const each of failing) await expect(each).rejects.toThrow('run 0')
    const next = shared.join('a', never, runs.begin)
    runs.end(1, 'well')
    expect((await next).value).toBe('well')
  })
})

describe('runs that must begin after the question', () => {
  test('many questions at once make two runs', async () => {
    const [later, runs] = [new LaterRuns<string>(), new Runs()]
    const asked = Array.from({ length: 10 }, () => later.join('a', never, runs.begin))
    expect(runs.count).toBe(1)
    runs.end(0, 'first')
    await expect.poll(() => runs.count).toBe(2)
    runs.end(1, 'second')
    const values = (await Promise.all(asked)).map(({ value }) => value)
    expect(values).toEqual(['first', ...Array<string>(9).fill('second')])
  })

  test('a run that does not end is not waited for', async () => {
    const [later, runs] = [new LaterRuns<string>(), new Runs()]
    void later.join('a', never, runs.begin)
    const second = later.join('a', never, runs.begin)
    await expect.poll(() => runs.count).toBe(2)
    runs.end(1, 'second')
    expect((await second).value).toBe('second')
  })
})
