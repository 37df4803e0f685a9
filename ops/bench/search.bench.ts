import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FreshetClient } from '../../schemas/client.ts'
import { demoDirectory, demoItems } from '../demo-catalog.ts'
import { BareLoop } from './bare-loop.ts'
import { median, quantile } from './figures.ts'
import { hardware, measure, type Report } from './report.ts'
import { note, publishAll, untilStatus, withServer } from './scratch.ts'

const rounds = 2
/** Every round is of the same pictures, and none shall be known from the one before. */
const uncached = { FRESHET_SEARCH_PICTURE_CACHE_BYTES: '0', FRESHET_SEARCH_CANDIDATE_CACHE_BYTES: '0' }

/** A search by image through HTTP against the bare model run on the same image, idle and while indexing. */
export async function searchBench(): Promise<Report> {
  const queries = queryPictures()
  const bare = await BareLoop.open(1)
  try {
    return await withServer({ env: uncached }, async (_server, client) => {
      const bareBefore = await bareTimes(bare, queries)
      const indexing = await searchesWhileIndexing(client, queries)
      note(`${indexing.length} searches while the catalogue was being indexed`)
      const idle = await interleaved(client, bare, queries)
      const bareOf = new Map(queries.map((path, i) => [path, bareBefore[i]!]))
      const busyRatios = indexing.map(({ path, ms }) => ms / bareOf.get(path)!)
      return {
        bench: 'search',
        hardware: hardware(),
        data: `${queries.length} pictures (rooms and other views), ${rounds} rounds interleaved with the baseline; catalogue of ${demoItems().length} products`,
        seed: null,
        baseline: 'decode + detect + crop + embed of the same picture alone in an idle process',
        measures: [
          measure('search / bare model time, median', median(idle.ratios), '', { atMost: 1.25 }),
          measure('search while indexing / bare model time, median', median(busyRatios), '', { atMost: 2 }),
          measure('search, p50', median(idle.searchMs), 'ms'),
          measure('search, p99', quantile(idle.searchMs, 0.99), 'ms'),
          measure('bare model time, p50', median(idle.bareMs), 'ms'),
          measure('search while indexing, p50', median(indexing.map(({ ms }) => ms)), 'ms'),
          measure(
            'search while indexing, p99',
            quantile(
              indexing.map(({ ms }) => ms),
              0.99,
            ),
            'ms',
          ),
        ],
      }
    })
  } finally {
    await bare.close()
  }
}

/** All rooms and as many other views. */
function queryPictures(): readonly string[] {
  const of = (folder: string): readonly string[] =>
    readdirSync(join(demoDirectory, folder))
      .sort()
      .slice(0, 24)
      .map(name => join(demoDirectory, folder, name))
  return [...of('rooms'), ...of('views')]
}

async function bareTimes(bare: BareLoop, paths: readonly string[]): Promise<readonly number[]> {
  const times: number[] = []
  for (const path of paths) {
    await bare.timeOf('analyse', path)
    times.push(await bare.timeOf('analyse', path))
  }
  return times
}

async function searchMs(client: FreshetClient, path: string): Promise<number> {
  const bytes = readFileSync(path)
  const began = performance.now()
  const answer = await client.searchImage(bytes, { k: 24 })
  if (answer.degraded.length > 0) throw new Error(`degraded: ${answer.degraded.join(', ')}`)
  return performance.now() - began
}

async function searchesWhileIndexing(client: FreshetClient, paths: readonly string[]) {
  const items = demoItems()
  await publishAll(client, items)
  const times: { readonly path: string; readonly ms: number }[] = []
  for (let i = 0; (await client.status()).items.searchable < items.length - 20; i++) {
    const path = paths[i % paths.length]!
    times.push({ path, ms: await searchMs(client, path) })
  }
  await untilStatus(client, status => status.items.searchable === items.length)
  return times
}

async function interleaved(client: FreshetClient, bare: BareLoop, paths: readonly string[]) {
  const ratios: number[] = []
  const searched: number[] = []
  const bareMs: number[] = []
  await searchMs(client, paths[0]!)
  for (let round = 0; round < rounds; round++) {
    for (const path of paths) {
      bareMs.push(await bare.timeOf('analyse', path))
      searched.push(await searchMs(client, path))
      ratios.push(searched.at(-1)! / bareMs.at(-1)!)
    }
  }
  return { ratios, searchMs: searched, bareMs }
}
