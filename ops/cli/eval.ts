import { Command } from 'commander'
import type { CommandContext } from './command-context.ts'
import { type ProgressBar, startProgressBar } from './progress-bar.ts'
import type { Terminal } from './terminal.ts'

interface EvalFlags {
  readonly json?: string
  readonly url?: string
}

export function evalCommand(context: CommandContext): Command {
  return new Command('eval')
    .summary('measure retrieval quality on the bundled catalogue')
    .description(
      'Indexes the furniture on a server of its own and searches other views and room photos. Ends with 1 when a goal is missed.',
    )
    .option('--json <file>', 'write the report as JSON too')
    .option('--url <url>', 'a running server that holds the demo catalogue alone')
    .addHelpText('after', '\nExample:\n  freshet eval --json eval.json')
    .action(async ({ json, url }: EvalFlags) => {
      const { runEval } = await import('../eval.ts')
      const { printReport } = await import('../bench/report.ts')
      const onProgress = phases(context.terminal)
      const report = await runEval(url === undefined ? { onProgress } : { onProgress, url })
      context.exitWith(printReport(report, json) ? 0 : 1)
    })
}

/** A bar per phase, ended when the phase is. */
function phases(terminal: Terminal): (phase: string, done: number, total: number) => void {
  let current = ''
  let bar: ProgressBar | null = null
  return (phase, done, total) => {
    if (phase !== current) bar = startProgressBar(terminal, phase, total)
    current = phase
    bar?.update(done)
    if (done === total) bar?.stop()
  }
}
