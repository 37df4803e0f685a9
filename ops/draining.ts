import { EventEmitter } from 'node:events'

/** npm passes on a Ctrl-C that its child has got from the terminal already. */
const passedOnWithinMs = 500

/** The first signal that asks this process to end; another one, a while later, ends it at once. */
export function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise(resolve => {
    let askedAtMs: number | null = null
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        if (askedAtMs !== null && performance.now() - askedAtMs > passedOnWithinMs) process.exit(1)
        askedAtMs ??= performance.now()
        resolve(signal)
      })
  })
}

/** Whether the work was done in time. @throws what the work throws */
export async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  const late = new EventEmitter()
  const timer = setTimeout(() => late.emit('late'), ms)
  try {
    return await Promise.race([work.then(() => true), EventEmitter.once(late, 'late').then(() => false)])
  } finally {
    clearTimeout(timer)
  }
}
