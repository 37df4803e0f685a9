import { brokerFaults } from './broker-faults.ts'
import { clockFaults } from './clock-faults.ts'
import { dispatcherFaults } from './dispatcher-faults.ts'
import { duplicateFaults } from './duplicate-faults.ts'
import { epochFaults } from './epoch-faults.ts'
import { logFaults } from './log-faults.ts'
import { processFaults } from './process-faults.ts'
import { redisFaults } from './redis-faults.ts'
import { registryFaults } from './registry-faults.ts'
import type { Scenario } from './scenario.ts'

const known: readonly Scenario[] = [
  ...dispatcherFaults,
  ...duplicateFaults,
  ...redisFaults,
  ...registryFaults,
  ...brokerFaults,
  ...processFaults,
  ...clockFaults,
  ...logFaults,
  ...epochFaults,
]

/** Every scenario, those that can share an installation beside each other. */
export const allScenarios: readonly Scenario[] = [...Map.groupBy(known, ({ plan }) => plan).values()].flat()

/** In the order of all. @throws Error that names those there are, for a name that is none of them */
export function scenariosNamed(names: readonly string[]): readonly Scenario[] {
  const unknown = names.filter(name => !allScenarios.some(scenario => scenario.name === name))
  if (unknown.length > 0)
    throw new Error(
      `there is no fault ${unknown.join(', ')}; there are ${allScenarios.map(({ name }) => name).join(', ')}`,
    )
  return allScenarios.filter(({ name }) => names.includes(name))
}
