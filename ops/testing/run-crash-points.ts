import { parseArgs } from 'node:util'
import { runCrashPoints, runFullDisk } from '../../shard-node/testing/crash-points-run.ts'

/**
 * `npm run test:crash-points -- --seed 7 --share 1`: a shard is ended before every disk step, and its disk filled at
 * every write.
 */
const { values } = parseArgs({
  options: { seed: { type: 'string', default: '41' }, share: { type: 'string', default: '1' } },
})
const options = {
  seed: Number(values.seed),
  share: Number(values.share),
  onNote: (line: string) => process.stderr.write(`  ${line}\n`),
}
process.stdout.write(`${JSON.stringify(await runCrashPoints(options), null, 2)}\n`)
process.stdout.write(`${JSON.stringify(await runFullDisk(options), null, 2)}\n`)
process.stdout.write('the shard came back whole each time\n')
