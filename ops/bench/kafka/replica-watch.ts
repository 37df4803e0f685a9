import { setTimeout as delay } from 'node:timers/promises'
import type { RemoteReplica } from '../../../query-gateway/remote/remote-replica.ts'
import type { AcceptedEvent } from './catalog-load.ts'

const lookEveryMs = 100
const lookupsAtOnce = 32

/** Resolves when the replicas together search so many items. Asked rarely: asking costs them too. */
export async function untilSearchable(
  replicas: readonly RemoteReplica[],
  items: number,
  { withinMs = 240_000 }: { readonly withinMs?: number } = {},
): Promise<void> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const statuses = await Promise.all(replicas.map(replica => replica.status()))
    const searchable = statuses.reduce((sum, status) => sum + status.items.searchable, 0)
    if (searchable >= items) return
    if (performance.now() > deadline) throw new Error(`${searchable} of ${items} items searchable in ${withinMs} ms`)
    await delay(lookEveryMs)
  }
}

/**
 * Ms from the moment the broker took each event until the slowest of the replicas searched it, as their own registers
 * tell: each replica notes when it has applied a register, and what is applied is searched. Asked afterwards, so that
 * asking disturbs nothing. @throws Error when an event is not searchable everywhere
 */
export async function searchableAfterMs(
  replicas: readonly RemoteReplica[],
  events: readonly AcceptedEvent[],
): Promise<readonly number[]> {
  const latencies = new Array<number>(events.length)
  let next = 0
  const lookUp = async (): Promise<void> => {
    while (next < events.length) {
      const at = next++
      const event = events[at]!
      const times = await Promise.all(replicas.map(replica => searchableAtMs(replica, event)))
      latencies[at] = Math.max(...times) - event.appendTimeMs
    }
  }
  await Promise.all(Array.from({ length: lookupsAtOnce }, lookUp))
  return latencies
}

async function searchableAtMs(replica: RemoteReplica, { itemId, offset }: AcceptedEvent): Promise<number> {
  const { searchable, attributes, objects, times } = await replica.registers(itemId)
  const { attributesMs, objectsMs } = times
  if (!searchable || attributes < offset || objects < offset || attributesMs === null || objectsMs === null)
    throw new Error(`${itemId} is not searchable on ${replica.replica}`)
  return Math.max(attributesMs, objectsMs)
}
