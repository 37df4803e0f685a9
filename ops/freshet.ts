import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { runCommandLine } from './cli/program.ts'
import { processTerminal } from './cli/terminal.ts'

/** The `freshet` command. */
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
quietTimerWarnings()
const interruption = new AbortController()
const commandLine = process.argv.slice(2)
// `serve` drains on its own; a command that watches ends its loop; any other ends at once, as Ctrl-C does.
if (commandLine.includes('--watch')) process.once('SIGINT', () => interruption.abort())
process.exitCode = await runCommandLine(commandLine, {
  terminal: processTerminal(),
  environment: process.env,
  workingDir: process.cwd(),
  cores: availableParallelism(),
  interrupted: interruption.signal,
  version,
})

/** The client of Kafka sets timers for what is due already, of which Node warns each time. It means nothing. */
function quietTimerWarnings(): void {
  process.removeAllListeners('warning')
  process.on('warning', warning => {
    if (warning.name !== 'TimeoutNegativeWarning') process.stderr.write(`${warning.stack ?? warning.message}\n`)
  })
}
