import { parseArgs } from 'node:util'
import { runShardModel } from '../../shard-node/testing/shard-model-run.ts'
import { tinyTuning } from '../../shard-node/testing/tiny-tuning.ts'

/** `npm run test:model -- --operations 200000 --seed 7`: random operations on a shard, held against a plain map. */
const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '200000' },
    kind: { type: 'string', default: 'standard' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
  },
})
const operations = Number(values.operations)
const seed = Number(values.seed)
const startedAt = performance.now()
const notedEvery = operations / 100
let noted = 0
process.stderr.write(`seed ${seed}, ${operations} operations\n`)
try {
  const kind = values.kind === 'compressed' ? 'compressed' : 'standard'
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
