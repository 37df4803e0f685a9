import type { ItemId, ReplicaId } from '../../../schemas/ids.ts'
import type { ItemRegisters, ReplicaStatus, ShardSearchRequest, ShardSearchResult } from '../../../schemas/shard-api.ts'
import {
  errorOfAnswer,
  registersWire,
  replicaPath,
  searchRequestWire,
  statusWire,
} from '../../../schemas/shard-wire.ts'
import type { WireCodec } from '../../../schemas/shard-wire-codec.ts'
import { searchResultWire } from '../../../schemas/shard-wire-hits.ts'

const answerWithinMs = 20_000

/** One replica asked straight, past every gateway. All calls: @throws FreshetError of the replica, or what `fetch` throws */
export class ReplicaAccess {
  readonly replica: ReplicaId
  readonly #base: string
  readonly #secret: string

  constructor(replica: ReplicaId, options: { readonly url: string; readonly secret: string }) {
    this.replica = replica
    this.#base = `${options.url}${replicaPath(replica)}`
    this.#secret = options.secret
  }

  status(): Promise<ReplicaStatus> {
    return this.#ask('status', statusWire)
  }

  registers(itemId: ItemId): Promise<ItemRegisters> {
    return this.#ask(`registers?itemId=${encodeURIComponent(itemId)}`, registersWire)
  }

  search(request: ShardSearchRequest): Promise<ShardSearchResult> {
    return this.#ask('search', searchResultWire, searchRequestWire.encode(request))
  }

  async #ask<T>(what: string, wire: WireCodec<T>, body?: string): Promise<T> {
    const headers = { authorization: `Bearer ${this.#secret}`, 'content-type': 'application/json' }
    const given = body === undefined ? {} : { method: 'POST', body }
    const response = await fetch(`${this.#base}/${what}`, {
      headers,
      signal: AbortSignal.timeout(answerWithinMs),
      ...given,
    })
    const text = await response.text()
    if (!response.ok) throw errorOfAnswer(text)
    return wire.decode(text)
  }
}
