import { hardware, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import type { BenchIndex } from './bench-index.ts'
import { paced } from './paced.ts'
import { dataText, k, layoutText, openIndex, type Scene, withScene } from './scene.ts'
import { latencyMs, medianRatio, type SearchWindow, searchWindow } from './search-load.ts'
import type { ShardBenchOptions } from './shard-bench-options.ts'

const deletesPerSecond = 5_000
const deletedShare = 0.5
/** Stretches of deleting, each after one of rest. */
const stretches = 8

/** Half of the items deleted at 5,000/s under searches. */
export async function deleteStormBench(options: ShardBenchOptions): Promise<Report> {
  return withScene(options, async scene => {
    const index = await openIndex(scene, { name: 'storm', capacity: options.rows })
    await index.fill(options.rows)
    await index.index.settled()
    await index.reclaim()
    const before = { disk: index.diskBytes() / index.live, memory: index.statistics().memoryBytes / index.live }
    note(`before: ${layoutText(index.statistics())}`)
    const storm = await storms(scene, index)
    const began = performance.now()
    await index.index.settled()
    await index.reclaim()
    const settledSeconds = (performance.now() - began) / 1_000
    const { tombstones, memoryBytes, rows } = index.statistics()
    note(`after: ${layoutText(index.statistics())}`)
    const diskAfter = index.diskBytes() / index.live
    await index.close()
    return {
      bench: 'delete-storm',
      hardware: hardware(),
      data: `${dataText(options)}; ${deletedShare * 100}% of the items deleted at random, ${deletesPerSecond}/s, in ${stretches} stretches; one client searches all the time, the default search threads`,
      seed: options.seed,
      baseline: 'the same client in the rest before each stretch; space before the first delete',
      measures: [
        measure('deleted items returned', storm.returned, '', { atMost: 0 }),
        measure('searches while deleting', storm.searches, ''),
        measure('p95 while deleting / at rest', storm.p95Ratio, '', { atMost: 1.5 }),
        measure('p50 while deleting', latencyMs(storm.deleting, 0.5), 'ms'),
        measure('p95 while deleting', latencyMs(storm.deleting, 0.95), 'ms'),
        measure('worst search while deleting', latencyMs(storm.deleting, 1), 'ms'),
        measure('worst search at rest', latencyMs(storm.resting, 1), 'ms'),
        measure('deletes applied / due', storm.applied, '', { atLeast: 0.95 }),
        measure('settled after', settledSeconds, 's'),
        measure('tombstones / rows once settled', tombstones / (rows + tombstones), '', { atMost: 0.15 }),
        measure('disk of a live vector, once settled / before', diskAfter / before.disk, '', { atMost: 1.2 }),
        measure('memory of a live vector, once settled / before', memoryBytes / rows / before.memory, '', {
          atMost: 1.2,
        }),
      ],
    }
  })
}

async function storms({ options, queries }: Scene, index: BenchIndex) {
  const toDelete = Math.floor(options.rows * deletedShare)
  const ms = (toDelete / stretches / deletesPerSecond) * 1_000
  const deletedAt = new Map<number, number>()
  const [resting, deleting]: [SearchWindow[], SearchWindow[]] = [[], []]
  let [returned, searches, done, due] = [0, 0, 0, 0]
  /** What was deleted before the search was sent may not come back. */
  const checked = async (query: Float32Array): Promise<void> => {
    const sent = deletedAt.size
    const { hits } = await index.search(query, k)
    searches++
    for (const { item } of hits) if ((deletedAt.get(item) ?? sent) < sent) returned++
  }
  for (let stretch = 0; stretch < stretches; stretch++) {
    resting.push(await searchWindow(checked, queries, { ms, inFlight: 1 }))
    const storm = paced(deletesPerSecond, () => {
      const item = index.anyItem()
      index.remove(item)
      deletedAt.set(item, deletedAt.size)
    })
    deleting.push(await searchWindow(checked, queries, { ms, inFlight: 1 }))
    storm.stop()
    done += storm.done
    due += storm.due
  }
  const p95 = (windows: readonly SearchWindow[]): readonly number[] => windows.map(each => latencyMs([each], 0.95))
  const p95Ratio = medianRatio(p95(deleting), p95(resting))
  return { resting, deleting, returned, searches, p95Ratio, applied: done / due }
}
