import { setTimeout as pause } from 'node:timers/promises'

const patienceMs = 60_000

/** Asks again and again until it is so. For what other processes do in their own time. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + patienceMs
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`${what} did not come in ${patienceMs} ms`)
    await pause(5)
  }
}
