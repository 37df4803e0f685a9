import { Command } from 'commander'
import type { CommandContext } from './command-context.ts'

export function benchCommand(context: CommandContext): Command {
  return new Command('bench')
    .summary('measure speed, disk or memory')
    .description('Runs a bench on servers of its own. Ends with 1 when a goal is missed.')
    .argument('<name>', 'ingest, freshness, search, start or disk')
    .option('--json <file>', 'write the report as JSON too')
    .addHelpText('after', '\nExample:\n  freshet bench ingest --json ingest.json')
    .action(async (name: string, { json }: { readonly json?: string }) => {
      const { runBench } = await import('../bench/run-bench.ts')
      context.exitWith((await runBench(name, json)) ? 0 : 1)
    })
}
