import { setTimeout as delay } from 'node:timers/promises'
import { standard } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { eachStandsStill } from './stand-still.ts'

export const processFaults: readonly Scenario[] = [
  { name: 'worker-paused', plan: standard, run: pauseWorker },
  { name: 'random-kills', plan: standard, eventsPerSecond: 300, run: killAtRandom },
]

/** Longer than a claim lasts here, which is 6 s. */
const pausedMs = 10_000

async function pauseWorker(context: FaultContext): Promise<ScenarioOutcome> {
  // While one stands still, others have the jobs it holds.
  const recoveryMs = await eachStandsStill(context, 'work', pausedMs)
  return { done: `each worker stood still for longer than its claims last (${pausedMs / 1000} s)`, recoveryMs }
}

const longestPauseMs = 4_000

async function killAtRandom(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, random, minutes, recovered, note } = context
  const { fleet } = installation
  const names = [...fleet.names('dispatch'), ...fleet.names('work'), ...fleet.names('shard')]
  const kills = new Map<string, number>()
  const endsAtMs = performance.now() + minutes * 60_000
  const starting = new Set<Promise<void>>()
  let failure: unknown = null
  while (performance.now() < endsAtMs && failure === null) {
    await delay(random() * longestPauseMs)
    const name = names[Math.floor(random() * names.length)]!
    if (!(await mayKill(context, name))) continue
    await fleet.kill(name)
    kills.set(name, (kills.get(name) ?? 0) + 1)
    const started = fleet.start(name).catch((thrown: unknown) => {
      failure = thrown
    })
    starting.add(started)
    void started.then(() => starting.delete(started))
    note(`killed ${[...kills].map(([each, count]) => `${each} ${count}`).join(', ')}`)
  }
  await Promise.all(starting)
  if (failure !== null) throw failure
  const recoveryMs = await recovered()
  const total = [...kills.values()].reduce((sum, count) => sum + count, 0)
  return { done: `${total} SIGKILLs in ${minutes} min under 300 events/s`, recoveryMs }
}

/** One that runs; of replicas only where the other one answers, for searches go on. */
async function mayKill({ installation }: FaultContext, name: string): Promise<boolean> {
  const { fleet } = installation
  if (!fleet.isRunning(name)) return false
  const siblings = fleet.names('shard').filter(each => each !== name)
  if (!fleet.names('shard').includes(name)) return true
  if (!siblings.every(each => fleet.isRunning(each))) return false
  const answers = await Promise.all(siblings.map(each => fleet.process(each).get('/readyz')))
  return answers.every(({ status }) => status === 200)
}
