import { FreshetError } from '../../schemas/errors.ts'
import type { Generation, ItemId, Offset, Partition, ReplicaId, ShardId } from '../../schemas/ids.ts'
import type {
  CutReplica,
  CutTaken,
  ItemAtCut,
  ItemRegisters,
  ReplicaStatus,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../../schemas/shard-api.ts'
import {
  changedWire,
  cutBucketOrderWire,
  cutEndOrderWire,
  cutItemsOrderWire,
  cutItemsWire,
  cutOrderWire,
  cutWire,
  doneWire,
  registersWire,
  replicaPath,
  replicaTag,
  searchBatchWire,
  searchRequestWire,
  searchResultsWire,
  snapshotOrderWire,
  statusWire,
  vectorWire,
} from '../../schemas/shard-wire.ts'
import type { WireCodec } from '../../schemas/shard-wire-codec.ts'
import { searchResultWire } from '../../schemas/shard-wire-hits.ts'
import { loopTurns } from '../load/loop-turns.ts'
import { type ReplicaSearches, ShardChannels } from './shard-channels.ts'
import {
  defaultRemoteReplicaSettings,
  type RemoteReplicaSettings,
  type ShardCall,
  ShardConnection,
} from './shard-connection.ts'

interface ReplicaCall extends Omit<ShardCall, 'timeoutMs'> {
  readonly timeoutMs?: number
}

/** Which replica it is and where. */
export interface RemoteReplicaIdentity {
  /** Origin of its server, such as `http://10.0.0.7:7490`. */
  readonly address: string
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly generation: Generation
  readonly partitions: readonly Partition[]
  /** What it said of itself last. */
  readonly reported: Pick<ReplicaStatus, 'state' | 'indexAgeMs'>
}

/** Writing a checkpoint or a snapshot takes as long as the disk does. */
const writingTimeoutMs = 10 * 60_000
/** A cut looks at every item of a partition, and lists some hundred thousand at most. */
const cutTimeoutMs = 30_000

/**
 * A replica in another process. What it answers is checked before it is believed: an answer that is malformed, too
 * large, late, to another call or of another replica or generation is `replica-unavailable`, with `why` in the details.
 * Its own errors arrive with their codes. One life of a replica at one address: another life is another object.
 */
export class RemoteReplica implements ShardReplica, CutReplica {
  readonly address: string
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly generation: Generation
  readonly partitions: readonly Partition[]
  reported: Pick<ReplicaStatus, 'state' | 'indexAgeMs'>
  readonly #settings: RemoteReplicaSettings
  readonly #path: string
  readonly #calls: ShardConnection
  readonly #searches: ReplicaSearches
  /** Apart from the calls, which would wait for the waits. */
  readonly #waits: ShardConnection
  /** Waits of which it is not known yet whether the replica listens, by item. */
  readonly #beginning = new Map<ItemId, Promise<void>>()
  #closing: Promise<unknown> | null = null

  /** The channels have the same settings, and are those of other replicas too. */
  constructor(
    identity: RemoteReplicaIdentity,
    settings: Partial<RemoteReplicaSettings> = {},
    channels: ShardChannels = new ShardChannels(settings),
  ) {
    this.address = identity.address
    this.shard = identity.shard
    this.replica = identity.replica
    this.generation = identity.generation
    this.partitions = identity.partitions
    this.reported = identity.reported
    this.#settings = { ...defaultRemoteReplicaSettings, ...settings }
    this.#path = replicaPath(identity.replica)
    const { connections, waitingConnections } = this.#settings
    const tag = replicaTag(identity)
    this.#searches = channels.searchesOf({ address: identity.address, replica: identity.replica, tag })
    const common = { address: identity.address, tag, settings: this.#settings }
    this.#calls = new ShardConnection({ ...common, connections })
    this.#waits = new ShardConnection({ ...common, connections: waitingConnections })
  }

  async search(request: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult> {
    const body = textOf(request)
    const text = await untilGivenUp(this.#searches.ask(body, signal), signal)
    await loopTurns.mine()
    return searchResultWire.decode(text)
  }

  /** As many results, in order, as of one moment. @throws as `search`, when any is refused */
  async searchBatch(
    requests: readonly ShardSearchRequest[],
    signal?: AbortSignal,
  ): Promise<readonly ShardSearchResult[]> {
    const body = searchBatchWire.encode(requests)
    const timeoutMs = this.#settings.searchTimeoutMs
    const results = await this.#ask(searchResultsWire, {
      method: 'POST',
      path: 'search-batch',
      body,
      signal,
      timeoutMs,
    })
    if (results.length === requests.length) return results
    throw new FreshetError('replica-unavailable', `${results.length} answers to ${requests.length} searches`, {
      details: { why: 'malformed' },
    })
  }

  /** After a wait for the item has begun, if there is one: whoever waited first misses no change. */
  async registers(itemId: ItemId): Promise<ItemRegisters> {
    await this.#beginning.get(itemId)
    return this.#ask(registersWire, { method: 'GET', path: `registers?itemId=${encodeURIComponent(itemId)}` })
  }

  objectVector(itemId: ItemId, object: number): Promise<Float32Array | null> {
    const path = `vector?itemId=${encodeURIComponent(itemId)}&object=${object}`
    return this.#ask(vectorWire, { method: 'GET', path })
  }

  status(): Promise<ReplicaStatus> {
    return this.#ask(statusWire, { method: 'GET', path: 'status' })
  }

  /** Resolves also when the replica has waited for long, or drains: whoever waits looks again. */
  async changed(itemId: ItemId, signal: AbortSignal): Promise<void> {
    const begun = Promise.withResolvers<void>()
    const before = this.#beginning.get(itemId)
    const all = Promise.all([before, begun.promise]).then(() => undefined)
    this.#beginning.set(itemId, all)
    try {
      const text = await this.#waits.ask({
        method: 'GET',
        path: `${this.#path}/changed?itemId=${encodeURIComponent(itemId)}`,
        timeoutMs: this.#settings.waitMs,
        signal,
        onBegun: begun.resolve,
      })
      changedWire.decode(text)
    } finally {
      begun.resolve()
      if (this.#beginning.get(itemId) === all) this.#beginning.delete(itemId)
    }
  }

  beginCut(partition: Partition, offset: Offset): Promise<CutTaken> {
    const body = cutOrderWire.encode({ partition, offset })
    return this.#ask(cutWire, { method: 'POST', path: 'cut', body, timeoutMs: cutTimeoutMs })
  }

  async cutItems(cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]> {
    const body = cutItemsOrderWire.encode({ cut, itemIds })
    const call = { method: 'POST', path: 'cut-items', body, timeoutMs: cutTimeoutMs } as const
    const { items } = await this.#ask(cutItemsWire, call)
    if (items.length === itemIds.length && items.every(({ itemId }, i) => itemId === itemIds[i])) return items
    throw new FreshetError('replica-unavailable', 'other items than those asked for', { details: { why: 'malformed' } })
  }

  async cutBucket(cut: string, bucket: number): Promise<readonly ItemAtCut[]> {
    const body = cutBucketOrderWire.encode({ cut, bucket })
    const call = { method: 'POST', path: 'cut-bucket', body, timeoutMs: cutTimeoutMs } as const
    return (await this.#ask(cutItemsWire, call)).items
  }

  async endCut(cut: string): Promise<void> {
    await this.#ask(doneWire, { method: 'POST', path: 'cut-end', body: cutEndOrderWire.encode({ cut }) })
  }

  /** @throws FreshetError `storage-failed` | `storage-full` | `not-ready` */
  async checkpoint(): Promise<void> {
    await this.#ask(doneWire, { method: 'POST', path: 'checkpoint', timeoutMs: writingTimeoutMs })
  }

  /** Writes a snapshot into a directory on the replica's machine. @throws as `checkpoint` */
  async exportTo(directory: string): Promise<void> {
    const body = snapshotOrderWire.encode({ directory })
    await this.#ask(doneWire, { method: 'POST', path: 'snapshot', body, timeoutMs: writingTimeoutMs })
  }

  /** Calls in hand are finished, waits fail. Repeatable. */
  close(): Promise<unknown> {
    this.#closing ??= Promise.all([this.#searches.close(), this.#calls.close(), this.#waits.destroy()])
    return this.#closing
  }

  async #ask<T>(wire: WireCodec<T>, call: ReplicaCall): Promise<T> {
    const { path, timeoutMs = this.#settings.lookupTimeoutMs, signal } = call
    const asking = this.#calls.ask({ ...call, timeoutMs, path: `${this.#path}/${path}` })
    return wire.decode(await untilGivenUp(asking, signal))
  }
}

async function untilGivenUp(asking: Promise<string>, signal: AbortSignal | undefined): Promise<string> {
  try {
    return await asking
  } catch (thrown) {
    if (!signal?.aborted || thrown !== signal.reason) throw thrown
    throw new FreshetError('timeout', 'the search was given up', { cause: thrown })
  }
}

/** Of the requests that are being asked: one search is asked of many replicas. */
const texts = new WeakMap<ShardSearchRequest, string>()

function textOf(request: ShardSearchRequest): string {
  const known = texts.get(request)
  if (known !== undefined) return known
  const text = searchRequestWire.encode(request)
  texts.set(request, text)
  return text
}
