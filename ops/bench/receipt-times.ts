import type { FreshetClient } from '../../schemas/client.ts'
import type { Receipt } from '../../schemas/http-items.ts'

/** Accepted to searchable, ms, of events that are, in order. @throws Error when a replica is not there yet */
export async function latenciesOf(client: FreshetClient, receipts: readonly string[]): Promise<readonly number[]> {
  const latencies: number[] = []
  for (const receipt of receipts) latencies.push(searchableAfterMs(await client.receipt(receipt)))
  return latencies
}

/** By the slowest replica. @throws Error when a replica is not there yet */
export function searchableAfterMs(receipt: Receipt): number {
  const times = receipt.generations.flatMap(({ replicas }) => replicas.map(({ atMs }) => atMs))
  if (receipt.status !== 'searchable' || times.length === 0 || times.includes(null))
    throw new Error(`not searchable: ${JSON.stringify(receipt)}`)
  return Math.max(...(times as readonly number[])) - receipt.acceptedAtMs
}
