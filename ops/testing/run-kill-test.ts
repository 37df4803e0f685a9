import { killRun } from './kill-run.ts'

/** `npm run test:kill`: 20,000 events under 15 kills of the server and 25 of its model processes. */
const report = await killRun({
  events: 20_000,
  serverKills: 15,
  childKills: 25,
  seed: 20_000,
  onNote: line => process.stderr.write(`  ${line}\n`),
})
process.stdout.write(`${JSON.stringify({ ...report, problems: report.problems.slice(0, 20) }, null, 2)}\n`)
process.stdout.write(
  report.problems.length === 0 ? 'every promise held\n' : `${report.problems.length} broken promises\n`,
)
process.exitCode = report.problems.length === 0 ? 0 : 1
