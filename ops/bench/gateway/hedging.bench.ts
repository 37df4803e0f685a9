import { median, quantile } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { inTurn, medianRatio } from '../shard/search-load.ts'
import {
  type GatewayBenchOptions,
  type GatewayScene,
  openGatewayProcess,
  seed,
  shardCount,
  withGatewayScene,
} from './gateway-scene.ts'
import { SearchClient } from './search-client.ts'

const pairs = 5
const inFlight = 4
const delay = { share: 0.01, ms: 200 }
const windowMs = { full: 12_000, quick: 3_000, smoke: 200 } as const

/** One answer in a hundred of every shard is held back: with hedges and without. */
export async function hedgingBench(options: GatewayBenchOptions): Promise<Report> {
  const ms = windowMs[options.length]
  return withGatewayScene(options, async scene => {
    const hedging = await openGatewayProcess(scene, true)
    const plain = await openGatewayProcess(scene, false)
    const [hedged, unhedged] = [hedging, plain].map(({ url }) => new SearchClient(url, scene.queries)) as [
      SearchClient,
      SearchClient,
    ]
    try {
      for (const client of [hedged, unhedged, hedged, unhedged]) await client.window(ms / 4, inFlight)
      for (const { calls } of scene.replicas) await calls.delay(delay)
      const { first, second } = await inTurn(
        pairs,
        () => windowOf(scene, hedged, ms),
        () => windowOf(scene, unhedged, ms),
      )
      note(`p99 with hedges ${first.map(p99Text).join(' ')}, without ${second.map(p99Text).join(' ')} ms`)
      const of = (windows: readonly Window[], key: keyof Window) => median(windows.map(each => each[key]))
      return {
        bench: 'hedging',
        hardware: hardware(),
        data: `${scene.dataText}; ${100 * delay.share}% of the answers of every replica held back by ${delay.ms} ms; ${inFlight} queries in flight, about ${of(first, 'queries')} in a window`,
        seed,
        baseline: `the same gateway without requests beyond one per shard; ${pairs} interleaved pairs`,
        measures: [
          measure(
            'p99 with hedges / without',
            medianRatio(
              first.map(({ p99 }) => p99),
              second.map(({ p99 }) => p99),
            ),
            '',
            { atMost: 0.3 },
          ),
          measure('extra requests to shards', 100 * of(first, 'extra'), '%', { atMost: 6 }),
          measure('p99 with hedges', of(first, 'p99'), 'ms'),
          measure('p99 without', of(second, 'p99'), 'ms'),
          measure('p50 with hedges', of(first, 'p50'), 'ms'),
          measure('p50 without', of(second, 'p50'), 'ms'),
          measure('p99.9 with hedges', of(first, 'p999'), 'ms'),
          measure('p99.9 without', of(second, 'p999'), 'ms'),
          measure('queries/s with hedges', of(first, 'qps'), 'queries/s'),
          measure('queries/s without', of(second, 'qps'), 'queries/s'),
          measure('answers that were not whole', hedged.degraded, ''),
        ],
      }
    } finally {
      for (const each of [hedged, unhedged]) each.close()
    }
  })
}

interface Window {
  readonly queries: number
  readonly qps: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  /** Requests that the shards got beyond one per shard and query, as a share of those. */
  readonly extra: number
}

const p99Text = ({ p99 }: Window): string => p99.toFixed(1)

async function windowOf(scene: GatewayScene, client: SearchClient, ms: number): Promise<Window> {
  const before = await searches(scene)
  const { qps, latenciesMs } = await client.window(ms, inFlight)
  const needed = shardCount * latenciesMs.length
  return {
    queries: latenciesMs.length,
    qps,
    p50: quantile(latenciesMs, 0.5),
    p99: quantile(latenciesMs, 0.99),
    p999: quantile(latenciesMs, 0.999),
    extra: ((await searches(scene)) - before) / needed - 1,
  }
}

async function searches({ replicas }: GatewayScene): Promise<number> {
  const counts = await Promise.all(replicas.map(({ calls }) => calls.searches()))
  return counts.reduce((sum, count) => sum + count, 0)
}
