import { setTimeout as delay } from 'node:timers/promises'
import type { FaultContext } from './scenario.ts'

/** Stops the processes of a role one after the other. Resolves with the longest time, ms, until the rest had caught up. */
export async function eachStandsStill(
  { installation: { fleet }, load, recovered }: FaultContext,
  role: 'dispatch' | 'work',
  pausedMs: number,
): Promise<number> {
  let recoveryMs = 0
  for (const name of fleet.names(role)) {
    await load.flowing(200)
    fleet.freeze(name)
    try {
      await delay(pausedMs)
      recoveryMs = Math.max(recoveryMs, await recovered())
    } finally {
      fleet.thaw(name)
    }
    await load.flowing(200)
  }
  return recoveryMs
}
