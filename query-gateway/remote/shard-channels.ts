import { type Span, SpanKind } from '@opentelemetry/api'
import type { ReplicaId } from '../../schemas/ids.ts'
import { searchesPath } from '../../schemas/shard-frames.ts'
import { noTrace, traceHeadersOf } from '../../schemas/trace-context.ts'
import { inChildSpan } from '../../schemas/trace-span.ts'
import { distrusted, failureOf } from './distrust.ts'
import { SearchConnection } from './search-connection.ts'
import { defaultRemoteReplicaSettings, type RemoteReplicaSettings, serverAttributes } from './shard-connection.ts'

/** Which replica is asked, and where. */
export interface SearchedReplica {
  /** Origin of its server. */
  readonly address: string
  readonly replica: ReplicaId
  /** As `replicaTag` has it. */
  readonly tag: string
}

/** Connections for searches to shard processes, one to each, shared by its replicas, and closed with the last of them. */
export class ShardChannels {
  readonly #settings: RemoteReplicaSettings
  readonly #channels = new Map<string, Channel>()

  constructor(settings: Partial<RemoteReplicaSettings> = {}) {
    this.#settings = { ...defaultRemoteReplicaSettings, ...settings }
  }

  /** Connects with the first search. To be closed. */
  searchesOf(searched: SearchedReplica): ReplicaSearches {
    const { address } = searched
    const channel = this.#channels.get(address) ?? new Channel(address, this.#settings)
    this.#channels.set(address, channel)
    channel.users++
    return new ReplicaSearches(searched, channel, async () => {
      if (--channel.users > 0) return
      this.#channels.delete(address)
      await channel.close()
    })
  }
}

/** Searches of one replica. Nothing is tried twice here: whom to ask next is the gateway's to say. */
export class ReplicaSearches {
  readonly #searched: SearchedReplica
  readonly #channel: Channel
  readonly #release: () => Promise<void>
  readonly #idle = Promise.withResolvers<void>()
  #inHand = 0
  #isClosing = false

  constructor(searched: SearchedReplica, channel: Channel, release: () => Promise<void>) {
    this.#searched = searched
    this.#channel = channel
    this.#release = release
  }

  /**
   * The text of a good answer.
   * @throws FreshetError the replica's own; `replica-unavailable` when there is no answer that can be believed, with
   * `why` in the details; the signal's reason when it fires first
   */
  async ask(body: string, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted()
    if (this.#isClosing) throw distrusted('unreachable', 'the gateway has let go of the replica')
    this.#inHand++
    try {
      const { attributes } = this.#channel
      const options = { kind: SpanKind.CLIENT, attributes, signal }
      return await inChildSpan('SEARCH shard', options, span => this.#ask(body, signal, span))
    } finally {
      this.#inHand--
      this.#resolveIfIdle()
    }
  }

  async #ask(body: string, signal: AbortSignal | undefined, span: Span | undefined): Promise<string> {
    const { replica, tag } = this.#searched
    const trace = span === undefined ? noTrace : traceHeadersOf(span)
    const { status, text } = await this.#channel.connection().ask({ replica, tag, body, trace, signal })
    span?.setAttribute('http.response.status_code', status)
    if (status === 200) return text
    throw failureOf(text)
  }

  /** Searches in hand are finished; others fail. To be called once. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#resolveIfIdle()
    await this.#idle.promise
    await this.#release()
  }

  #resolveIfIdle(): void {
    if (this.#isClosing && this.#inHand === 0) this.#idle.resolve()
  }
}

/** To one process: a connection, and another one after it is over. */
class Channel {
  users = 0
  readonly attributes: Readonly<Record<string, string | number>>
  readonly #address: string
  readonly #settings: RemoteReplicaSettings
  #connection: SearchConnection | null = null

  constructor(address: string, settings: RemoteReplicaSettings) {
    this.#address = address
    this.#settings = settings
    this.attributes = { ...serverAttributes(address), 'url.path': searchesPath }
  }

  connection(): SearchConnection {
    if (this.#connection?.takesCalls !== true) this.#connection = new SearchConnection(this.#address, this.#settings)
    return this.#connection
  }

  async close(): Promise<void> {
    await this.#connection?.close()
  }
}
