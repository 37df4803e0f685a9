import { Command } from 'commander'
import { type KillRunOptions, killRun } from './kill-run.ts'
import { numberOption } from './number-option.ts'

const options = new Command('npm run test:kill --')
  .description(
    'Publishes events to a server that is killed again and again, and its model processes with it (SIGKILL), and ' +
      'holds what it ends with against an undisturbed replay; exit code 1 when a promise is broken.',
  )
  .option('--events <number>', 'events published', numberOption, 20_000)
  .option('--server-kills <number>', 'how often the server is killed', numberOption, 15)
  .option('--child-kills <number>', 'how often a model process is killed', numberOption, 25)
  .option('--seed <number>', 'of events and moments', numberOption, 20_000)
  .parse()
  .opts<Omit<KillRunOptions, 'onNote'>>()

const report = await killRun({ ...options, onNote: line => process.stderr.write(`  ${line}\n`) })
process.stdout.write(`${JSON.stringify({ ...report, problems: report.problems.slice(0, 20) }, null, 2)}\n`)
process.stdout.write(
  report.problems.length === 0 ? 'every promise held\n' : `${report.problems.length} broken promises\n`,
)
process.exitCode = report.problems.length === 0 ? 0 : 1
