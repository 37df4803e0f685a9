import { Command } from 'commander'
import { runCrashPoints, runFullDisk } from '../../shard-node/testing/crash-points-run.ts'
import { numberOption } from './number-option.ts'

const { seed, share } = new Command('npm run test:crash-points --')
  .description(
    'Ends a shard before every disk step, and fills its disk at every write; after each the shard must come back whole.',
  )
  .option('--seed <number>', 'of the events', numberOption, 41)
  .option('--share <number>', 'of the steps that are tried, chosen by the seed, 1 for all', numberOption, 1)
  .parse()
  .opts<{ readonly seed: number; readonly share: number }>()

const options = { seed, share, onNote: (line: string) => process.stderr.write(`  ${line}\n`) }
process.stdout.write(`${JSON.stringify(await runCrashPoints(options), null, 2)}\n`)
process.stdout.write(`${JSON.stringify(await runFullDisk(options), null, 2)}\n`)
process.stdout.write('the shard came back whole each time\n')
