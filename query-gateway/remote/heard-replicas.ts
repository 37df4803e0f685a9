import { type Heartbeat, heartbeatEveryMs } from '../../schemas/heartbeat.ts'
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

/** `news`: of the life that counts; `repeated`: known already; `rival`: of an older life, beside the one that counts. */
export type Hearing = 'news' | 'repeated' | 'rival'

interface NewestLife extends HeardReplica {
  /** By the clock of the log. */
  readonly beganAtMs: number
  /** Lives that began before it: they stay so, whatever becomes of their clocks. */
  readonly replaced: Set<string>
}

const maxReplacedKept = 16
/** Several heartbeats. */
const silentAfterMs = 5 * heartbeatEveryMs

/**
 * The newest heartbeat of each replica. No clock of a replica is believed, and none compared with ours: when a life
 * began follows from the append time of its first heartbeat and how long it had run by then, silence from how far the
 * log went on and from the time since the heartbeat arrived here. The life that began last counts, while it lasts.
 */
export class HeardReplicas {
  readonly #replicas = new Map<ReplicaId, NewestLife>()
  #newestAppendMs = 0

  /** In the order of the log. `nowMs` is monotonic. */
  hear(heartbeat: Heartbeat, appendTimeMs: number, nowMs: number): Hearing {
    this.#newestAppendMs = appendTimeMs
    const life = `${heartbeat.startedAtMs} ${heartbeat.address}`
    const held = this.#replicas.get(heartbeat.replica)
    const heard = { heartbeat, appendTimeMs, arrivedAtMs: nowMs, life }
    if (held?.life === life) {
      if (heartbeat.sequence <= held.heartbeat.sequence) return 'repeated'
      this.#replicas.set(heartbeat.replica, { ...held, ...heard })
      return 'news'
    }
    const beganAtMs = appendTimeMs - Math.max(0, heartbeat.writtenAtMs - heartbeat.startedAtMs)
    const isOlder = held !== undefined && (held.replaced.has(life) || beganAtMs < held.beganAtMs)
    if (isOlder && !isOver(held, appendTimeMs, nowMs)) {
      remember(held.replaced, life)
      return 'rival'
    }
    const replaced = held?.replaced ?? new Set()
    replaced.delete(life)
    if (held !== undefined) remember(replaced, held.life)
    this.#replicas.set(heartbeat.replica, { ...heard, beganAtMs, replaced })
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

/** Then whoever still speaks under its name is listened to: its clock, or that of the log, has jumped. */
function isOver({ heartbeat, appendTimeMs, arrivedAtMs }: HeardReplica, atMs: number, nowMs: number): boolean {
  return heartbeat.state === 'stopped' || Math.max(atMs - appendTimeMs, nowMs - arrivedAtMs) > silentAfterMs
}

/** Of many, those that were replaced first are of no interest any more. */
function remember(replaced: Set<string>, life: string): void {
  replaced.add(life)
  const [oldest] = replaced
  if (replaced.size > maxReplacedKept) replaced.delete(oldest!)
}
