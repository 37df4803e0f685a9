import { setTimeout as delay } from 'node:timers/promises'

const lookEveryMs = 100

/** Looks again and again. Resolves with how long it took, ms. @throws Error that says what did not come about */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, withinMs = 120_000): Promise<number> {
  const startedMs = performance.now()
  while (!(await isSo())) {
    if (performance.now() - startedMs > withinMs)
      throw new Error(`within ${Math.round(withinMs / 1000)} s it did not come about that ${what}`)
    await delay(lookEveryMs)
  }
  return performance.now() - startedMs
}
