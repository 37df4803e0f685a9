import { seededRandom } from '../../../shard-node/testing/seeded-random.ts'
import { CatalogLoad } from './catalog-load.ts'
import { categoriesOf, EventGenerator } from './event-generator.ts'
import { FaultInstallation, type InstallationPlan } from './fault-installation.ts'
import { orAborted } from './or-aborted.ts'
import { type Finding, Oracle, untilApplied } from './oracle.ts'
import type { Scenario, ScenarioOutcome } from './scenario.ts'
import { SearchProbe } from './search-probe.ts'

export interface FaultMatrixOptions {
  readonly scenarios: readonly Scenario[]
  readonly seed: number
  /** How long those scenarios go on that end at no certain point. */
  readonly minutes: number
  readonly onNote: (line: string) => void
  readonly onResult: (result: FaultResult) => void
  /** Ends the scenario at work, and what it runs on. */
  readonly signal?: AbortSignal
}

/** A row of the table. */
export interface FaultResult {
  readonly fault: string
  /** Of the installation. */
  readonly plan: string
  /** What was done to it; null when it did not come to an end. */
  readonly done: string | null
  readonly acknowledged: number
  /** Events that were not acknowledged, by error code. */
  readonly refused: Readonly<Record<string, number>>
  readonly searches: { readonly answered: number; readonly failed: number }
  readonly recoveryMs: number | null
  /** With the comparison. */
  readonly tookMs: number
  readonly compared: Omit<Finding, 'problems'> | null
  readonly hasHeld: boolean
  /** Broken promises, in words. */
  readonly problems: readonly string[]
}

const itemCount = 800
const usualEventsPerSecond = 120
const keptProblems = 20

/** Runs the scenarios in order. Neighbours with one plan share an installation, as long as every promise held. */
export async function runFaultMatrix(options: FaultMatrixOptions): Promise<readonly FaultResult[]> {
  const { scenarios, onNote, onResult, signal } = options
  const results: FaultResult[] = []
  let site: Site | null = null
  try {
    for (const scenario of scenarios) {
      signal?.throwIfAborted()
      if (site !== null && site.plan !== scenario.plan) {
        await site.close()
        site = null
      }
      if (site === null) onNote(`starting the installation ${scenario.plan.name}`)
      site ??= await Site.open(scenario.plan, options)
      onNote(`${scenario.name}: begins`)
      const result = await site.run(scenario, options)
      results.push(result)
      onResult(result)
      if (result.hasHeld && scenario.isLast !== true) continue
      await site.close()
      site = null
    }
  } finally {
    await site?.close()
  }
  return results
}

/** An installation with what flows into it and what judges it. */
class Site {
  readonly plan: InstallationPlan
  readonly #installation: FaultInstallation
  readonly #load: CatalogLoad
  readonly #oracle: Oracle
  readonly #random: () => number

  static async open(plan: InstallationPlan, { seed }: FaultMatrixOptions): Promise<Site> {
    const installation = await FaultInstallation.start(plan)
    const random = seededRandom(seed)
    const pictures = installation.pictures.map(({ reference }) => reference)
    const generator = new EventGenerator({ random, items: itemCount, pictures })
    const load = new CatalogLoad({ installation, generator, random })
    const oracle = await Oracle.start({ installation, load, categories: categoriesOf(itemCount) })
    return new Site(plan, { installation, load, oracle, random })
  }

  private constructor(
    plan: InstallationPlan,
    parts: {
      readonly installation: FaultInstallation
      readonly load: CatalogLoad
      readonly oracle: Oracle
      readonly random: () => number
    },
  ) {
    this.plan = plan
    this.#installation = parts.installation
    this.#load = parts.load
    this.#oracle = parts.oracle
    this.#random = parts.random
  }

  async run(scenario: Scenario, { minutes, onNote, signal }: FaultMatrixOptions): Promise<FaultResult> {
    const startedMs = performance.now()
    const acknowledgedBefore = this.#load.acknowledged.length
    const problems: string[] = []
    const probe = new SearchProbe(this.#installation)
    const context = {
      installation: this.#installation,
      load: this.#load,
      oracle: this.#oracle,
      probe,
      random: this.#random,
      minutes,
      note: (line: string) => onNote(`  ${line}`),
      problem: (text: string) => problems.push(text),
      recovered: () => untilApplied(this.#installation, this.#load.latest),
    }
    this.#load.start(scenario.eventsPerSecond ?? usualEventsPerSecond)
    probe.start()
    const running = scenario.run(context)
    const outcome = await orAborted(running, signal).catch((thrown: unknown) => {
      signal?.throwIfAborted()
      problems.push(`it did not come to its end: ${(thrown as Error).message}`)
      return null
    })
    await probe.stop()
    await this.#load.stop().catch((error: Error) => problems.push(error.message))
    const finding = scenario.isLast === true ? null : await this.#checked(problems)
    if (scenario.answersThroughout !== false && probe.failures.length > 0)
      problems.push(`${probe.failures.length} searches got no answer, the first: ${probe.failures[0]}`)
    return this.#result(scenario, {
      outcome,
      finding,
      problems,
      probe,
      acknowledged: this.#load.acknowledged.length - acknowledgedBefore,
      tookMs: performance.now() - startedMs,
    })
  }

  async close(): Promise<void> {
    await this.#load.stop().catch(() => undefined)
    await this.#oracle.close()
    await this.#installation.stop()
  }

  async #checked(problems: string[]): Promise<Finding | null> {
    try {
      const finding = await this.#oracle.check()
      problems.push(...finding.problems)
      return finding
    } catch (thrown) {
      problems.push(`nothing could be compared: ${(thrown as Error).message}`)
      return null
    }
  }

  #result(
    scenario: Scenario,
    seen: {
      readonly outcome: ScenarioOutcome | null
      readonly finding: Finding | null
      readonly problems: readonly string[]
      readonly probe: SearchProbe
      readonly acknowledged: number
      readonly tookMs: number
    },
  ): FaultResult {
    const { outcome, finding, problems, probe, acknowledged, tookMs } = seen
    const more = problems.length - keptProblems
    return {
      fault: scenario.name,
      plan: scenario.plan.name,
      done: outcome?.done ?? null,
      acknowledged,
      refused: Object.fromEntries(this.#load.refused),
      searches: { answered: probe.answered, failed: probe.failures.length },
      recoveryMs: outcome?.recoveryMs ?? null,
      tookMs,
      compared: finding && {
        liveItems: finding.liveItems,
        deletedItems: finding.deletedItems,
        replicas: finding.replicas,
      },
      hasHeld: problems.length === 0,
      problems: more > 0 ? [...problems.slice(0, keptProblems), `and ${more} more`] : problems,
    }
  }
}
