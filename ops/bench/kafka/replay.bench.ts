import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { KafkaBroker } from '../../../topologies/servers/kafka-broker.ts'
import { median } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note, withScratch } from '../scratch.ts'
import { withProcess } from '../shard/child-calls.ts'
import { ClusteredData } from '../shard/clustered-data.ts'
import { dims } from '../shard/scene.ts'
import { inTurn, medianRatio } from '../shard/search-load.ts'
import type { KafkaBenchOptions } from './kafka-bench-options.ts'
import type { Replayed, ReplayOptions, ReplayProcess } from './replay-child.ts'

interface Size {
  readonly rows: number
  readonly pairs: number
}

const sizes: Readonly<Record<KafkaBenchOptions['length'], Size>> = {
  full: { rows: 100_000, pairs: 5 },
  quick: { rows: 40_000, pairs: 1 },
  smoke: { rows: 1_000, pairs: 1 },
}

const seed = 1
const entry = fileURLToPath(new URL('./replay-child.ts', import.meta.url))
const inProcess = <T>(body: (calls: ReplayCalls) => Promise<T>): Promise<T> =>
  withProcess<ReplayProcess, T>(entry, ({ calls }) => body(calls))
type ReplayCalls = Parameters<Parameters<typeof withProcess<ReplayProcess, unknown>>[1]>[0]['calls']

/** A shard that has lost everything, from the mutation log on Kafka, against the library's graph of the same vectors. */
export async function replayBench({ length }: KafkaBenchOptions): Promise<Report> {
  const { rows, pairs } = sizes[length]
  const { replays, bareSeconds } = await withScratch(async directory => {
    const broker = await KafkaBroker.start({ directory: join(directory, 'kafka'), forLongRuns: true })
    try {
      return await replayInTurn({ brokers: broker.brokers, directory, rows, dims, seed }, pairs)
    } finally {
      await broker.stop()
    }
  })
  const perSecond = (seconds: readonly number[]): readonly number[] => seconds.map(each => rows / each)
  const settled = replays.map(({ seconds }) => seconds)
  const last = replays.at(-1)!
  return {
    bench: 'replay',
    hardware: hardware(),
    data: `${rows.toLocaleString('en')} items in a mutation log on Kafka, attributes and one vector of ${dims} dimensions each, of ${ClusteredData.clusters.toLocaleString('en')} unequal Gaussian clusters (as the shard benches); ${pairs} interleaved pairs, each run in a process and a directory of its own`,
    seed,
    baseline:
      'usearch alone: the same vectors, in memory already, added to one graph of the kind and with the settings that shards have (i8, connectivity and expansion as in index-tuning.ts), by one thread as shards do',
    measures: [
      measure('replayed until settled / bare build', medianRatio(perSecond(settled), perSecond(bareSeconds)), '', {
        atLeast: 0.6,
      }),
      measure('replayed until settled', median(perSecond(settled)), 'vectors/s'),
      measure(
        'replayed until all is searched',
        median(perSecond(replays.map(({ appliedSeconds }) => appliedSeconds))),
        'vectors/s',
      ),
      measure('bare build', median(perSecond(bareSeconds)), 'vectors/s'),
      measure('rows missing after the replay', rows - last.rows, '', { atMost: 0 }),
      measure('graphs when settled', last.graphs, ''),
      measure('rows searched without a graph when settled', last.scannedRows, ''),
    ],
  }
}

async function replayInTurn(options: ReplayOptions, pairs: number) {
  await inProcess(calls => calls.write(options))
  const { first, second } = await inTurn<Replayed, number>(
    pairs,
    () => inProcess(calls => calls.replay(options)),
    () => inProcess(calls => calls.buildBare(options)),
  )
  for (const [pair, { seconds }] of first.entries())
    note(`pair ${pair + 1}: replay ${seconds.toFixed(1)} s, bare build ${second[pair]!.toFixed(1)} s`)
  return { replays: first, bareSeconds: second }
}
