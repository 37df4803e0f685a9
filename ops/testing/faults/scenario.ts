import type { CatalogLoad } from './catalog-load.ts'
import type { FaultInstallation, InstallationPlan } from './fault-installation.ts'
import type { Oracle } from './oracle.ts'
import type { SearchProbe } from './search-probe.ts'

/** What a scenario has at hand. Events flow when it begins. */
export interface FaultContext {
  readonly installation: FaultInstallation
  readonly load: CatalogLoad
  readonly oracle: Oracle
  readonly probe: SearchProbe
  /** 0 to 1, seeded. */
  readonly random: () => number
  /** How long those that go on at random do so. */
  readonly minutes: number
  note(line: string): void
  /** A promise that was broken, in words. */
  problem(text: string): void
  /** Resolves with how long it takes, ms, until all that is acknowledged now is applied by every replica. */
  recovered(): Promise<number>
}

export interface ScenarioOutcome {
  /** What was done, such as `killed 12 times`. */
  readonly done: string
  /** From the end of the fault until what was acknowledged by then was searchable; null where nothing is to recover. */
  readonly recoveryMs: number | null
}

/** A fault, and what is to be seen of it besides the oracle's comparison, which follows each. */
export interface Scenario {
  readonly name: string
  readonly plan: InstallationPlan
  /** Default 120. */
  readonly eventsPerSecond?: number
  /** False where the gateway itself is replaced; else no search may fail from the first event on. */
  readonly answersThroughout?: false
  /** The installation is of no use afterwards, and the scenario has compared by itself. */
  readonly isLast?: true
  /** @throws Error what did not come about */
  run(context: FaultContext): Promise<ScenarioOutcome>
}
