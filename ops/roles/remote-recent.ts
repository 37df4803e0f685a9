import { Value } from '@sinclair/typebox/value'
import type { RecentItem } from '../../query-gateway/ports.ts'
import type { RemoteReplica } from '../../query-gateway/remote/remote-replica.ts'
import type { ImageDigest } from '../../schemas/ids.ts'
import { maxRecentItems, RecentAnswer, recentPath } from './recent-routes.ts'

type RecentReplica = Pick<RemoteReplica, 'address' | 'generation' | 'shard' | 'reported'>

export interface RecentOfShards {
  /** Newest first. */
  readonly items: readonly RecentItem[]
  /** Items that became searchable a second, over the last ten. */
  readonly perSecond: number
}

const timeoutMs = 2_000
/** Forty items with the longest ids and titles take less. */
const maxAnswerBytes = 1024 * 1024

/**
 * What became searchable last in a generation: one ready replica of each shard is asked. A shard that does not answer
 * is left out; that it is away is in the status.
 */
export async function recentlySearchable(
  replicas: readonly RecentReplica[],
  { generation, secret }: { readonly generation: string; readonly secret: string | null },
): Promise<RecentOfShards> {
  const addresses = new Map<number, string>()
  for (const replica of replicas)
    if (replica.generation === generation && replica.reported.state === 'ready' && !addresses.has(replica.shard))
      addresses.set(replica.shard, replica.address)
  const asked = await Promise.allSettled([...addresses.values()].map(address => ask(address, generation, secret)))
  const answers = asked.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  return {
    items: answers
      .flatMap(({ items }) => items.map(item => ({ ...item, digest: item.digest as ImageDigest | null })))
      .toSorted((a, b) => b.atMs - a.atMs)
      .slice(0, maxRecentItems),
    perSecond: answers.reduce((sum, { perSecond }) => sum + perSecond, 0),
  }
}

async function ask(address: string, generation: string, secret: string | null): Promise<RecentAnswer> {
  const response = await fetch(`${address}${recentPath}?generation=${encodeURIComponent(generation)}`, {
    headers: secret === null ? {} : { authorization: `Bearer ${secret}` },
    signal: AbortSignal.timeout(timeoutMs),
  })
  const answer: unknown = JSON.parse(await boundedText(response))
  if (response.ok && Value.Check(RecentAnswer, answer)) return answer
  throw new TypeError(`the shard at ${address} answers ${response.status} with something else`)
}

async function boundedText({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body ?? []) {
    bytes += chunk.length
    if (bytes > maxAnswerBytes) throw new RangeError('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
