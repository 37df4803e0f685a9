/** Does things at a steady rate until told to stop. */
export interface Paced {
  /** What was done so far. */
  readonly done: number
  /** What was due so far. */
  readonly due: number
  stop(): void
}

const everyMs = 4

/**
 * Calls `act` at `perSecond`, a few at a time. What is late is made good, so that the rate holds whenever this thread
 * is fast enough; the number due and the number done tell whether it was.
 */
export function paced(perSecond: number, act: () => void): Paced {
  const began = performance.now()
  let done = 0
  let stoppedMs: number | null = null
  const due = (): number => Math.floor((((stoppedMs ?? performance.now()) - began) / 1_000) * perSecond)
  const timer = setInterval(() => {
    const until = Math.min(due(), done + Math.ceil(perSecond / 10))
    for (; done < until; done++) act()
  }, everyMs)
  return {
    get done() {
      return done
    },
    get due() {
      return due()
    },
    stop() {
      stoppedMs ??= performance.now()
      clearInterval(timer)
    },
  }
}
