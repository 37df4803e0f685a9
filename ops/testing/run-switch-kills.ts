import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { hardware } from '../bench/report.ts'
import { renderTable } from '../cli/table.ts'
import { type SwitchMoment, switchMoments } from './switch/switch-scenario.ts'
import { everyRoleAlways, type KilledSwitch, runSwitchWithKills } from './switch/switch-with-kills.ts'

/** `npm run test:switch`: a change of model, every role killed at every state of it; exit code 1 when a promise is broken. */
interface Options {
  readonly seed: string
  readonly json?: string
}

const { seed, json } = new Command('npm run test:switch --')
  .description(
    'Changes the model of the distributed form with real Kafka, registry and Redis, undoes it and changes it again, ' +
      'events and searches flowing, and kills every role at every state with SIGKILL.',
  )
  .option('--seed <number>', 'of events and moments', '1')
  .option('--json <file>', 'write the results there too')
  .parse()
  .opts<Options>()

// The client of Kafka sets timers for what is due already, of which Node warns each time. It means nothing.
process.removeAllListeners('warning')
process.on('warning', warning => {
  if (warning.name !== 'TimeoutNegativeWarning') process.stderr.write(`${warning.stack ?? warning.message}\n`)
})

const directory = mkdtempSync(join(tmpdir(), 'freshet-switch-'))
const beganMs = performance.now()
const note = (line: string): void => {
  process.stderr.write(`  ${line}\n`)
}
const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => ending.abort(new Error('it was ended by a signal')))
let isGood = false
try {
  const found = await runSwitchWithKills({
    directory,
    seed: Number(seed),
    victims: everyRoleAlways,
    note,
    signal: ending.signal,
  })
  isGood = found.problems.length === 0
  const tookMs = performance.now() - beganMs
  process.stdout.write(`${rendered(found, tookMs)}\n`)
  const { problems, kills, cuts, refusals, events, answered, resent } = found
  const results = { problems, kills, cuts, refusals, events, searches: answered.length, resent }
  if (json !== undefined)
    writeFileSync(
      json,
      `${JSON.stringify({ hardware: hardware(), seed: Number(seed), tookMs, ...results }, null, 2)}\n`,
    )
} catch (thrown) {
  process.stderr.write(`it did not come to its end: ${(thrown as Error).stack}\n`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
process.exit(isGood ? 0 : 1)

/** The table, and below it what was broken. */
function rendered(found: KilledSwitch, tookMs: number): string {
  const { kills, problems, events, answered, resent } = found
  const machine = hardware()
  const table = renderTable(
    switchMoments,
    [
      { name: 'killed at', of: moment => moment },
      {
        name: 'what',
        of: moment =>
          killed(found, moment)
            .map(({ name }) => name)
            .join(' '),
      },
      {
        name: 'ready after',
        of: moment => `${seconds(killed(found, moment).map(each => each.readyAfterMs))} s`,
        align: 'right',
      },
      { name: 'steps cut', of: moment => stepsCut(found, moment) },
      {
        name: 'refused meanwhile',
        of: moment => String(found.refusals.filter(each => each.moment === moment).length),
        align: 'right',
      },
    ],
    Number.POSITIVE_INFINITY,
  )
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}; seed ${seed}`,
    '',
    ...table,
    '',
    `${kills.length} SIGKILLs in ${Math.round(tookMs / 1000)} s; ${events} events, ${answered.length} searches, ${resent} calls made again to the other gateway; every certificate and the canary passed`,
    problems.length === 0
      ? 'held: no search failed or mixed generations, nothing deleted was returned, nothing is missing'
      : 'BROKEN:',
    ...problems.slice(0, 50).map(each => `  ${each}`),
  ].join('\n')
}

function killed({ kills }: KilledSwitch, moment: SwitchMoment): KilledSwitch['kills'] {
  return kills.filter(each => each.moment === moment)
}

/** Shortest to longest. */
function seconds(times: readonly number[]): string {
  return [Math.min(...times), Math.max(...times)].map(ms => (ms / 1000).toFixed(1)).join('–')
}

function stepsCut({ cuts }: KilledSwitch, moment: SwitchMoment): string {
  return cuts
    .filter(each => each.moment === moment)
    .map(({ outcome }) => outcome)
    .join(', ')
}
