import { Command, Option } from 'commander'
import { runShardModel } from '../../shard-node/testing/shard-model-run.ts'
import { tinyTuning } from '../../shard-node/testing/tiny-tuning.ts'
import { numberOption } from './number-option.ts'

interface Options {
  readonly operations: number
  readonly kind: 'standard' | 'compressed'
  readonly seed: number
}

const { operations, kind, seed } = new Command('npm run test:model --')
  .description(
    'Does random operations on a shard and on a plain map with an exact scan, and compares what they answer; exit code 1 ' +
      'when they differ.',
  )
  .option('--operations <number>', 'how many', numberOption, 200_000)
  .addOption(new Option('--kind <kind>', 'of segments').choices(['standard', 'compressed']).default('standard'))
  .addOption(
    new Option('--seed <number>', 'of the operations')
      .argParser(numberOption)
      .default(Date.now() % 1e6, 'chosen by the clock, and printed'),
  )
  .parse()
  .opts<Options>()
const startedAt = performance.now()
const notedEvery = operations / 100
let noted = 0
process.stderr.write(`seed ${seed}, ${operations} operations\n`)
try {
  const tuning = { ...tinyTuning, index: { ...tinyTuning.index, threads: 2, kind } } as const
  const report = await runShardModel({
    seed,
    operations,
    dims: 24,
    items: 3_000,
    eventsAtOnce: 150,
    tuning,
    onProgress: note,
  })
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  process.stdout.write(`the shard and the model agreed, in ${seconds()} s\n`)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
  process.exitCode = 1
}

function note(done: number): void {
  if (done - noted < notedEvery) return
  noted = done
  process.stderr.write(`  ${done} of ${operations} after ${seconds()} s\n`)
}

function seconds(): number {
  return Math.round((performance.now() - startedAt) / 1000)
}
