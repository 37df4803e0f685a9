import { Command } from 'commander'
import type { BenchArguments } from '../bench/run-bench.ts'
import type { CommandContext } from './command-context.ts'

export function benchCommand(context: CommandContext): Command {
  return new Command('bench')
    .summary('measure speed, disk or memory')
    .description('Runs a bench on servers or shards of its own. Ends with 1 when a goal is missed.')
    .argument(
      '<name>',
      'ingest, freshness, search, start, disk, shard-search, shard-mixed, shard-churn, shard-filter, shard-recovery, shard-memory, delete-storm, kafka-ingest, kafka-freshness, drain or replay',
    )
    .option('--json <file>', 'write the report as JSON too')
    .option('--rows <number>', 'shard benches: vectors in the shard (default 200000)')
    .option('--seed <number>', 'shard benches: seed of the data (default 1)')
    .option('--quick', 'shard and Kafka benches: a small form that takes about a minute')
    .addHelpText('after', '\nExample:\n  freshet bench shard-search --rows 50000 --json search.json')
    .action(async (name: string, given: BenchArguments & { readonly json?: string }) => {
      const { runBench } = await import('../bench/run-bench.ts')
      context.exitWith((await runBench(name, given)) ? 0 : 1)
    })
}
