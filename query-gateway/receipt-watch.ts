import { setInterval } from 'node:timers/promises'
import type { EventStatus, Receipt } from '../schemas/http-items.ts'
import type { Generation, ItemId } from '../schemas/ids.ts'
import type { ShardReplica } from '../schemas/shard-api.ts'
import type { GatewayPorts, RoutedGeneration } from './ports.ts'
import { type AcceptedEvent, encodeReceipt } from './receipt.ts'
import { combine, isFinal, verdictOf } from './receipt-verdict.ts'
import type { ReplicaRoster } from './replica-roster.ts'

/** A change of shares is seen so late at most. */
const routingLookMs = 250

type GenerationReceipt = Receipt['generations'][number]
type ReplicaReceipt = GenerationReceipt['replicas'][number]

/** Tells what became of accepted events, by asking the replicas that hold their items. Keeps nothing. */
export class ReceiptWatch {
  readonly #routing: GatewayPorts['routing']
  readonly #roster: ReplicaRoster

  constructor(routing: GatewayPorts['routing'], roster: ReplicaRoster) {
    this.#routing = routing
    this.#roster = roster
  }

  /** As it is now. */
  async look(event: AcceptedEvent): Promise<Receipt> {
    const generations = await Promise.all(this.#routing().map(route => this.#generation(event, route)))
    const deciding = generations.filter(({ share }) => share > 0)
    const status = combine(deciding.map(generation => generation.status))
    const replicas = deciding.flatMap(generation => generation.replicas)
    return {
      receipt: encodeReceipt(event),
      itemId: event.itemId,
      partition: event.partition,
      version: String(event.offset),
      acceptedAtMs: event.acceptedAtMs,
      status,
      failure: status === 'failed' ? (replicas.find(({ failure }) => failure !== null)?.failure ?? null) : null,
      stale: replicas.some(({ stale }) => stale),
      generations,
    }
  }

  /** As soon as it is final, or as it is when the signal aborts. Event-driven: asks again only after a change, of the shares too. */
  async settled(event: AcceptedEvent, signal: AbortSignal): Promise<Receipt> {
    for (;;) {
      const round = new AbortController()
      const changed = this.#changed(event, AbortSignal.any([signal, round.signal]))
      try {
        const receipt = await this.look(event)
        if (isFinal(receipt.status) || signal.aborted) return receipt
        await changed
        if (signal.aborted) return await this.look(event)
      } finally {
        round.abort()
      }
    }
  }

  /** Listening starts at once, before the registers are read, so that no change falls in between. Resolves on abort. */
  async #changed(event: AcceptedEvent, signal: AbortSignal): Promise<void> {
    const deciding = this.#deciding()
    const replicas = deciding.flatMap(generation => this.#roster.owner(generation, event.partition).routable)
    const changes = replicas.map(replica => changeOf(replica, event.itemId, signal))
    await Promise.race([aborted(signal), this.#rerouted(deciding, signal), ...changes])
  }

  #deciding(): readonly Generation[] {
    return this.#routing().flatMap(({ generation, share }) => (share > 0 ? [generation] : []))
  }

  /** Others decide than those that did: one that no longer has queries is waited for no longer. */
  async #rerouted(before: readonly Generation[], signal: AbortSignal): Promise<void> {
    try {
      for await (const _ of setInterval(routingLookMs, undefined, { signal, ref: false }))
        if (this.#deciding().join() !== before.join()) return
    } catch {
      // The wait is over, for another reason.
    }
  }

  async #generation(event: AcceptedEvent, { generation, share }: RoutedGeneration): Promise<GenerationReceipt> {
    const route = this.#roster.owner(generation, event.partition)
    const replicas = await Promise.all(route.routable.map(replica => replicaReceipt(replica, event)))
    const statuses = replicas.flatMap(({ status }): EventStatus[] => (status === 'unreachable' ? [] : [status]))
    return { generation, share, status: combine(statuses), replicas }
  }
}

/** A replica that does not answer is not routable, so it decides nothing; it is listed as what it is. */
async function replicaReceipt(replica: ShardReplica, event: AcceptedEvent): Promise<ReplicaReceipt> {
  const who = { shard: replica.shard, replica: replica.replica }
  try {
    const registers = await replica.registers(event.itemId)
    return { ...who, ...verdictOf(registers, event.offset), stale: registers.snapshot?.stale ?? false }
  } catch {
    return { ...who, status: 'unreachable', atMs: null, failure: null, stale: false }
  }
}

/** A replica that cannot be listened to tells of no change; the others, and the time limit, go on. */
async function changeOf(replica: ShardReplica, itemId: ItemId, signal: AbortSignal): Promise<void> {
  try {
    await replica.changed(itemId, signal)
  } catch {
    await aborted(signal)
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
