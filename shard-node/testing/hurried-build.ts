import { ShardFiles } from '../files/shard-files.ts'
import { Builder } from '../segments/builder.ts'
import { writeInputs } from './segment-inputs.ts'

/** What this process saw of a build that it hurried as soon as it told of progress. */
export interface HurriedBuild {
  readonly processes: number
  readonly rows: number
  readonly expectedRows: number
}

const files = new ShardFiles(process.argv[2]!)
const { inputs, kept } = await writeInputs(files, { seed: 13, segments: 2, rows: 8_000, items: 30_000 })
const builder = new Builder({ files })
const pids = new Set<number | null>()
const graph = { connectivity: 12, expansionAdd: 64 }
const { rows } = await builder.build({ id: 7, inputs, graph }, () => {
  pids.add(builder.pid)
  builder.hurry()
})
const seen: HurriedBuild = { processes: pids.size, rows: rows.rows, expectedRows: kept.length }
process.stdout.write(JSON.stringify(seen))
