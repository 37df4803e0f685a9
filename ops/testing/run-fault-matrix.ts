import { writeFileSync } from 'node:fs'
import { Command } from 'commander'
import { allScenarios, scenariosNamed } from './faults/all-scenarios.ts'
import { type FaultResult, runFaultMatrix } from './faults/fault-matrix.ts'
import { renderFaults, reportOf } from './faults/fault-report.ts'
import { numberOption } from './number-option.ts'

/** `npm run test:faults`: every fault, with real servers and real processes; exit code 1 when a promise is broken. */
interface Options {
  readonly only: readonly string[]
  readonly seed: number
  readonly minutes: number
  readonly json?: string
  readonly list: boolean
}

const options = new Command('npm run test:faults --')
  .description(
    'Runs the distributed form with real Kafka, registry and Redis through every fault, events flowing, and compares ' +
      'each replica with the sequential fold of the acknowledged events after each.',
  )
  .option('--only <names...>', 'these faults alone', [])
  .option('--seed <number>', 'of events and moments', numberOption, 1)
  .option('--minutes <number>', 'how long processes are killed at random', numberOption, 5)
  .option('--json <file>', 'write the results there too')
  .option('--list', 'name the faults, and end', false)
  .parse()
  .opts<Options>()

// The client of Kafka sets timers for what is due already, of which Node warns each time. It means nothing.
process.removeAllListeners('warning')
process.on('warning', warning => {
  if (warning.name !== 'TimeoutNegativeWarning') process.stderr.write(`${warning.stack ?? warning.message}\n`)
})

const note = (line: string): void => {
  process.stderr.write(`  ${line}\n`)
}

if (options.list) for (const { name } of allScenarios) process.stdout.write(`${name}\n`)
else {
  const exitCode = await run(options)
  // What a scenario that was given up still waits for would keep the process; its servers end with it.
  process.exit(exitCode)
}

async function run({ only, seed, minutes, json }: Options): Promise<number> {
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => ending.abort(new Error('it was ended by a signal')))
  const startedMs = performance.now()
  const results: FaultResult[] = []
  const onResult = (result: FaultResult): void => {
    results.push(result)
    note(`${result.fault}: ${result.hasHeld ? 'held' : `BROKEN: ${result.problems.join('\n    ')}`}`)
  }
  const scenarios = only.length === 0 ? allScenarios : scenariosNamed(only)
  let failure: Error | null = null
  await runFaultMatrix({ scenarios, seed, minutes, onNote: note, onResult, signal: ending.signal }).catch(
    (thrown: Error) => {
      failure = thrown
    },
  )
  const report = reportOf({ seed, minutes, tookMs: performance.now() - startedMs, results })
  process.stdout.write(`${renderFaults(report)}\n`)
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  if (failure !== null) process.stderr.write(`it ended before its end: ${(failure as Error).message}\n`)
  const isGood = failure === null && results.every(({ hasHeld }) => hasHeld)
  return isGood ? 0 : 1
}
