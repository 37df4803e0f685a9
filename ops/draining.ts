import { EventEmitter } from 'node:events'

/** The first signal that asks this process to end; a second one ends it at once. */
export function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise(resolve => {
    let isEnding = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        if (isEnding) process.exit(1)
        isEnding = true
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
