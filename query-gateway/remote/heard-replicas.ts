import type { Heartbeat } from '../../schemas/heartbeat.ts'
import type { ReplicaId } from '../../schemas/ids.ts'

/** What the log last said of one replica. */
export interface HeardReplica {
  readonly heartbeat: Heartbeat
  /** By the clock of the log. */
  readonly appendTimeMs: number
  /** Monotonic, by our clock. */
  readonly arrivedAtMs: number
  /** Tells its lives apart. */
  readonly life: string
}

/** `news`: of the newest life; `repeated`: known already; `rival`: of an older life, which a newer one has replaced. */
export type Hearing = 'news' | 'repeated' | 'rival'

interface Lives extends HeardReplica {
  /** When each life that was heard of began, by the clock of the log. */
  readonly beganAtMs: Map<string, number>
}

const maxLivesKept = 16

/**
 * The newest heartbeat of each replica. No clock of a replica is believed, and none compared with ours: when a life
 * began follows from the append time of its first heartbeat and how long it had run by then, silence from how far the
 * log went on and from the time since the heartbeat arrived here.
 */
export class HeardReplicas {
  readonly #replicas = new Map<ReplicaId, Lives>()
  #newestAppendMs = 0

  /** In the order of the log. `nowMs` is monotonic. */
  hear(heartbeat: Heartbeat, appendTimeMs: number, nowMs: number): Hearing {
    this.#newestAppendMs = appendTimeMs
    const { replica, startedAtMs, writtenAtMs, address, sequence } = heartbeat
    const life = `${startedAtMs} ${address}`
    const held = this.#replicas.get(replica)
    const beganAtMs = held?.beganAtMs ?? new Map<string, number>()
    const began = beganAtMs.get(life) ?? appendTimeMs - Math.max(0, writtenAtMs - startedAtMs)
    if (held !== undefined && held.life === life && sequence <= held.heartbeat.sequence) return 'repeated'
    remember(beganAtMs, life, began)
    if (held !== undefined && held.life !== life && began < beganAtMs.get(held.life)!) return 'rival'
    this.#replicas.set(replica, { heartbeat, appendTimeMs, arrivedAtMs: nowMs, life, beganAtMs })
    return 'news'
  }

  get(replica: ReplicaId): HeardReplica | undefined {
    return this.#replicas.get(replica)
  }

  all(): Iterable<HeardReplica> {
    return this.#replicas.values()
  }

  forget(replica: ReplicaId): void {
    this.#replicas.delete(replica)
  }

  /** Since the replica was heard, ms. What was read of the past has only just arrived: the log tells its age. */
  silentMs({ appendTimeMs, arrivedAtMs }: HeardReplica, nowMs: number): number {
    return Math.max(this.#newestAppendMs - appendTimeMs, nowMs - arrivedAtMs)
  }
}

/** A life that has been replaced often is of no interest any more. */
function remember(beganAtMs: Map<string, number>, life: string, began: number): void {
  beganAtMs.delete(life)
  beganAtMs.set(life, began)
  const [oldest] = beganAtMs.keys()
  if (beganAtMs.size > maxLivesKept) beganAtMs.delete(oldest!)
}
