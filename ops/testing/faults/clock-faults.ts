import { standard } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'

export const clockFaults: readonly Scenario[] = [
  { name: 'clocks-wrong', plan: standard, answersThroughout: false, run: shiftClocks },
]

const hourMs = 3_600_000
const preload = new URL('shifted-clock.mjs', import.meta.url).href

/** Neighbours disagree by up to two hours, in both directions. */
const shiftsMs: Readonly<Record<string, number>> = {
  'dispatch-1': hourMs,
  'dispatch-2': -hourMs,
  'work-1': -hourMs,
  'work-2': hourMs,
  'shard-a': hourMs,
  'shard-b': -hourMs,
  gateway: -hourMs,
}

async function shiftClocks({ installation, load, recovered, note }: FaultContext): Promise<ScenarioOutcome> {
  const { fleet } = installation
  await load.flowing(200)
  for (const [name, shiftMs] of Object.entries(shiftsMs)) {
    await fleet.kill(name)
    await fleet.start(name, { env: { NODE_OPTIONS: `--import=${preload}`, TEST_CLOCK_SHIFT_MS: String(shiftMs) } })
    note(`${name} is ${shiftMs > 0 ? 'an hour ahead' : 'an hour behind'}`)
  }
  await load.flowing(500)
  const recoveryMs = await recovered()
  // Back again, one after the other: now the neighbours were wrong.
  for (const name of Object.keys(shiftsMs)) {
    await fleet.kill(name)
    await fleet.start(name)
  }
  await load.flowing(300)
  return {
    done: 'every role ran an hour ahead or behind, neighbours in opposite directions',
    recoveryMs: Math.max(recoveryMs, await recovered()),
  }
}
