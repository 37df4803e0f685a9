import { median } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { inTurn, medianRatio } from '../shard/search-load.ts'
import {
  type GatewayBenchOptions,
  type GatewayScene,
  openBareProcess,
  openGatewayProcess,
  seed,
  shardRequests,
  withGatewayScene,
} from './gateway-scene.ts'
import { SearchClient } from './search-client.ts'
import type { OwnTime } from './shards-child.ts'

const pairs = 5
const inFlight = 16
const windowMs = { full: 4_000, quick: 1_000, smoke: 100 } as const

/** What the gateway adds to its shards: in time to one query, in work to many, against the bare libraries. */
export async function gatewayOverheadBench(options: GatewayBenchOptions): Promise<Report> {
  const ms = windowMs[options.length]
  return withGatewayScene(options, async scene => {
    const gateway = await openGatewayProcess(scene, true)
    const client = new SearchClient(gateway.url, scene.queries)
    const answers = await answersOf(client, scene)
    const shardK = await scene.replicas[0]!.calls.latestK()
    const bare = await openBareProcess(scene, answers, shardRequests(shardK))
    const bareClient = new SearchClient(bare.url, scene.queries)
    try {
      for (const each of [client, bareClient, client, bareClient]) await each.window(ms / 2, inFlight)
      const alone = await inTurn(
        pairs,
        async () => overheadOf(scene, client, ms),
        async () => overheadOf(scene, bareClient, ms),
      )
      note(`alone: gateway ${alone.first.map(text).join(' ')}; bare ${alone.second.map(text).join(' ')}`)
      const many = await inTurn(
        pairs,
        () => loaded(scene, { client, gateway: gateway.process.calls }, ms),
        () => loaded(scene, { client: bareClient, gateway: bare.process.calls }, ms),
      )
      const [ours, theirs] = [many.first, many.second]
      const median1 = (of: readonly { readonly [key: string]: number }[], key: string) =>
        median(of.map(each => each[key]!))
      return {
        bench: 'gateway-overhead',
        hardware: hardware(),
        data: `${scene.dataText}; gateway, both sets of replicas and the load in a process each; ${shardK} items asked of each shard`,
        seed,
        baseline: `fastify and undici alone: the same request bytes to the same shards, whose answers are read and not looked at, and the same answer bytes to the client; ${pairs} interleaved pairs`,
        measures: [
          measure('gateway p50 − slowest shard’s own p50, one client', median1(alone.first, 'overMs'), 'ms', {
            atMost: 1.5,
          }),
          measure('bare libraries p50 − slowest shard’s own p50', median1(alone.second, 'overMs'), 'ms'),
          measure(
            'a query beyond the slowest search made for it, gateway, one client, p50',
            median1(alone.first, 'overOwnMs'),
            'ms',
          ),
          measure('the same, bare libraries', median1(alone.second, 'overOwnMs'), 'ms'),
          measure('gateway p50, one client', median1(alone.first, 'p50'), 'ms'),
          measure('bare libraries p50, one client', median1(alone.second, 'p50'), 'ms'),
          measure('slowest shard’s own p50', median1(alone.first, 'shardMs'), 'ms'),
          measure(
            `queries/s, ${inFlight} in flight, gateway / bare libraries`,
            medianRatio(
              ours.map(({ qps }) => qps),
              theirs.map(({ qps }) => qps),
            ),
            '',
            { atLeast: 0.8 },
          ),
          measure('gateway', median1(ours, 'qps'), 'queries/s'),
          measure('bare libraries', median1(theirs, 'qps'), 'queries/s'),
          measure('CPU time of the gateway process', median1(ours, 'cpuMs'), 'ms/query'),
          measure('CPU time of the bare process', median1(theirs, 'cpuMs'), 'ms/query'),
          measure('CPU time of the shards, asked by the gateway', median1(ours, 'shardsCpuMs'), 'ms/query'),
          measure('CPU time of the shards, asked by the bare process', median1(theirs, 'shardsCpuMs'), 'ms/query'),
          measure('answers that were not whole', client.degraded, ''),
        ],
      }
    } finally {
      for (const each of [client, bareClient]) each.close()
    }
  })
}

const text = ({ p50, shardMs }: { readonly p50: number; readonly shardMs: number }): string =>
  `${p50.toFixed(2)}-${shardMs.toFixed(2)}`

async function answersOf(client: SearchClient, { queries }: GatewayScene): Promise<readonly string[]> {
  const answers: string[] = []
  for (let i = 0; i < queries.count; i++) answers.push((await client.search(i)).toString())
  return answers
}

async function overheadOf({ replicas }: GatewayScene, client: SearchClient, ms: number) {
  for (const { calls } of replicas) await calls.takeOwnTimes()
  const spans = await oneByOne(client, ms)
  const p50s = await Promise.all(replicas.map(({ calls }) => calls.p50s()))
  const owns = (await Promise.all(replicas.map(({ calls }) => calls.takeOwnTimes()))).flat()
  const shardMs = Math.max(...p50s.flat())
  const p50 = median(spans.map(({ tookMs }) => tookMs))
  return { p50, shardMs, overMs: p50 - shardMs, overOwnMs: median(beyondOwnShards(spans, owns)) }
}

interface Span {
  readonly beganAtMs: number
  readonly tookMs: number
}

async function oneByOne(client: SearchClient, ms: number): Promise<readonly Span[]> {
  const spans: Span[] = []
  await client.window(ms, 1, span => spans.push(span))
  return spans
}

/** Of each query, what it took beyond the slowest of the searches that were made for it. */
function beyondOwnShards(spans: readonly Span[], owns: readonly OwnTime[]): readonly number[] {
  const inOrder = [...owns].sort((a, b) => a.beganAtMs - b.beganAtMs)
  let at = 0
  return spans.map(({ beganAtMs, tookMs }) => {
    let slowestMs = 0
    // One query at a time: what began before the next one was sent is of this one.
    for (; at < inOrder.length && inOrder[at]!.beganAtMs < beganAtMs + tookMs; at++)
      slowestMs = Math.max(slowestMs, inOrder[at]!.tookMs)
    return tookMs - slowestMs
  })
}

interface CpuClock {
  cpuMs(): Promise<number>
}

async function loaded(
  { replicas }: GatewayScene,
  { client, gateway }: { readonly client: SearchClient; readonly gateway: CpuClock },
  ms: number,
) {
  const cpuMs = async (): Promise<readonly [number, number]> => {
    const shards = await Promise.all(replicas.map(({ calls }) => calls.cpuMs()))
    return [await gateway.cpuMs(), shards.reduce((sum, each) => sum + each, 0)]
  }
  const before = await cpuMs()
  const { qps, latenciesMs } = await client.window(ms, inFlight)
  const after = await cpuMs()
  const [ownMs, shardsMs] = [after[0] - before[0], after[1] - before[1]]
  return { qps, cpuMs: ownMs / latenciesMs.length, shardsCpuMs: shardsMs / latenciesMs.length }
}
