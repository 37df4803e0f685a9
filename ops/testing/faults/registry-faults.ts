import { standard } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'

export const registryFaults: readonly Scenario[] = [
  { name: 'registry-away-mid-flight', plan: standard, run: loseRegistry },
  { name: 'registry-away-at-start', plan: standard, run: startWithoutRegistry },
]

async function loseRegistry({ installation, load, recovered }: FaultContext): Promise<ScenarioOutcome> {
  const { registry } = installation.servers
  await load.flowing(200)
  await registry.kill()
  await load.flowing(600)
  // What flows needs no registry: it is still away.
  const recoveryMs = await recovered()
  await registry.startAgain()
  return { done: 'the registry was killed, 600 events went through without it', recoveryMs }
}

async function startWithoutRegistry(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, load, recovered, problem } = context
  const { fleet, servers } = installation
  const restarted = ['dispatch-1', 'shard-b', 'work-1']
  await load.flowing(200)
  await servers.registry.kill()
  await Promise.all(restarted.map(name => fleet.kill(name)))
  const starting = restarted.map(name => fleet.start(name))
  // Long enough for each to have asked for its schemas, and to be there still.
  await load.flowing(800)
  for (const name of restarted) if (fleet.isRunning(name)) problem(`${name} was ready without the registry`)
  await servers.registry.startAgain()
  await Promise.all(starting)
  const recoveryMs = await recovered()
  await load.flowing(200)
  return { done: `the registry was away while ${restarted.join(', ')} started`, recoveryMs }
}
