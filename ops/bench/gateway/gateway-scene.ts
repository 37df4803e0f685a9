import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { asPartition, asShardId, type Partition, type ReplicaId } from '../../../schemas/ids.ts'
import { searchRequestWire } from '../../../schemas/shard-wire.ts'
import { acceptanceOf, generation } from '../../../shard-node/testing/shard-on-log.ts'
import { note, withScratch } from '../scratch.ts'
import { MeasuredProcess } from '../shard/child-calls.ts'
import { ClusteredData } from '../shard/clustered-data.ts'
import type { BareProcess } from './bare-child.ts'
import type { GatewayProcess, ReplicaAddress } from './gateway-child.ts'
import { QueryBodies } from './search-client.ts'
import type { ShardsProcess } from './shards-child.ts'

/** `full`: what the goals are for. `quick`: shows that a bench works. `smoke`: every step once, for the tests. */
export interface GatewayBenchOptions {
  readonly length: 'full' | 'quick' | 'smoke'
}

export const dims = 256
export const shardCount = 4
export const seed = 1
export const rowsOf = { full: 40_000, quick: 8_000, smoke: 800 } as const
/** Results that a query asks for: the default of the API. */
const k = 24
const queryCount = 200

/** Partitions of a shard: as everywhere, by the remainder. */
export function partitionsOf(shard: number): readonly Partition[] {
  return Array.from({ length: 2 }, (_, i) => asPartition(shard + i * shardCount))
}

const entry = (name: string): string => fileURLToPath(new URL(`./${name}-child.ts`, import.meta.url))

/** Four shards, two replicas of each in processes of their own, and bodies of searches by vector. */
export interface GatewayScene {
  /** Gone after the bench. */
  readonly directory: string
  readonly replicas: readonly MeasuredProcess<ShardsProcess>[]
  readonly addresses: readonly ReplicaAddress[]
  readonly queries: QueryBodies
  readonly dataText: string
  /** Ended with the scene, whatever happens. */
  readonly others: { close(): Promise<void> }[]
}

/** Everything that was started is gone when the body is done. */
export async function withGatewayScene<T>(
  { length }: GatewayBenchOptions,
  body: (scene: GatewayScene) => Promise<T>,
): Promise<T> {
  const rows = rowsOf[length]
  return withScratch(async directory => {
    const replicas = [0, 1].map(() => new MeasuredProcess<ShardsProcess>(entry('shards')))
    const others: { close(): Promise<void> }[] = []
    try {
      note(`loading ${rows} items into ${shardCount} shards × ${replicas.length} replicas`)
      const opened = await Promise.all(
        replicas.map((process, at) =>
          process.calls.open({ directory: join(directory, `replica-${at}`), replica: replicaName(at), rows }),
        ),
      )
      const nowMs = Date.now()
      for (const { calls } of replicas) await calls.watermark(nowMs)
      const addresses = opened.flatMap((address, at) => addressesOf(address, replicaName(at)))
      const queries = sceneQueries()
      return await body({ directory, replicas, addresses, queries, dataText: dataTextOf(rows), others })
    } finally {
      await Promise.all([...replicas, ...others].map(process => process.close()))
    }
  })
}

const replicaName = (at: number): string => 'ab'[at]!

function addressesOf(address: string, name: string): readonly ReplicaAddress[] {
  return Array.from({ length: shardCount }, (_, shard) => ({
    address,
    shard: asShardId(shard),
    replica: `${name}-${shard}` as ReplicaId,
    partitions: partitionsOf(shard),
  }))
}

function dataTextOf(rows: number): string {
  return `${rows.toLocaleString('en')} items with one vector of ${dims} dimensions each, of clusters (see the shard benches), in ${shardCount} shards × 2 replicas; searches by vector over HTTP, k = ${k}, one of ${queryCount} by the same law`
}

function sceneQueries(): QueryBodies {
  const { vectors } = new ClusteredData({ seed, dims }).block(0, queryCount, 'queries')
  return new QueryBodies(vectors, { dims, k, fingerprint: acceptanceOf(dims).fingerprint })
}

/** What a gateway asks a shard for each of the bodies. */
export function shardRequests(shardK: number): readonly string[] {
  const { vectors } = new ClusteredData({ seed, dims }).block(0, queryCount, 'queries')
  const { fingerprint } = acceptanceOf(dims)
  return Array.from({ length: queryCount }, (_, i) => {
    const vector = vectors.slice(i * dims, (i + 1) * dims)
    return searchRequestWire.encode({ generation, fingerprint, vector, k: shardK })
  })
}

/** A gateway process; `hedges` off: no request beyond one per shard. */
export async function openGatewayProcess(scene: GatewayScene, hedges: boolean) {
  const process = new MeasuredProcess<GatewayProcess>(entry('gateway'))
  scene.others.push(process)
  const { fingerprint } = acceptanceOf(dims)
  const directory = join(scene.directory, hedges ? 'gateway' : 'plain-gateway')
  const url = await process.calls.open({ directory, generation, fingerprint, addresses: scene.addresses, hedges })
  return { process, url }
}

export async function openBareProcess(scene: GatewayScene, answers: readonly string[], requests: readonly string[]) {
  const process = new MeasuredProcess<BareProcess>(entry('bare'))
  scene.others.push(process)
  const url = await process.calls.open({ addresses: scene.addresses, answers, requests })
  return { process, url }
}
