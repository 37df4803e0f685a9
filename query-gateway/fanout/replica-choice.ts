import type { Admission } from './circuit-breaker.ts'

/** A replica as it stands when a query comes. */
export interface Standby<R> {
  readonly replica: R
  /** The process that holds it; the same for replicas of other shards that it holds. */
  readonly process: string
  /** Ready, and not much staler than a sibling. */
  readonly isFresh: boolean
  readonly admission: Admission
  /** Requests that its process has in hand from here. */
  readonly inFlight: number
}

/**
 * The order in which the replicas of a shard are asked, those given best first: fresh ones before stale ones, sick
 * ones last of all, but never left out where there is nobody else. Load goes to the less busy one of two drawn at
 * random, so that no gateway's favourite is everybody's. A replica whose trial is due goes first when `mayTry`: the
 * caller has another one to ask if the trial fails.
 */
export function askingOrder<R>(standbys: readonly Standby<R>[], random: () => number, mayTry: boolean): readonly R[] {
  if (standbys.length === 1) return [standbys[0]!.replica]
  const trial: R[] = []
  const fresh: Standby<R>[] = []
  const stale: R[] = []
  const sick: R[] = []
  for (const standby of standbys) {
    const { replica, isFresh, admission } = standby
    if (admission === 'closed' && isFresh) fresh.push(standby)
    else if (admission === 'closed') stale.push(replica)
    else if (admission === 'trial' && isFresh && mayTry && trial.length === 0) trial.push(replica)
    else sick.push(replica)
  }
  // A trial is made where somebody is well; else the sick are tried in any case.
  const others = [...shuffled(fresh.sort(byProcess), random), ...stale]
  return others.length > 0 ? [...trial, ...others, ...sick] : [...trial, ...sick]
}

/**
 * Numbers from 0 to 1, the same ones for the same seed: with them the shards of one query draw alike, so that where
 * processes hold replicas of several shards, it goes to few of them and not to all.
 */
export function drawsOf(seed: number): () => number {
  let state = Math.floor(seed * 2 ** 32)
  return () => {
    const drawn = state / 2 ** 32
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return drawn
  }
}

/** So that the same draw means the same process for every shard. */
function byProcess<R>(a: Standby<R>, b: Standby<R>): number {
  return a.process < b.process ? -1 : a.process > b.process ? 1 : 0
}

/** Any order, but the first one is the less busy of the first two. */
function shuffled<R>(standbys: Standby<R>[], random: () => number): R[] {
  for (let last = standbys.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    const moved = standbys[last]!
    standbys[last] = standbys[other]!
    standbys[other] = moved
  }
  const [first, second] = standbys
  if (first !== undefined && second !== undefined && second.inFlight < first.inFlight) {
    standbys[0] = second
    standbys[1] = first
  }
  return standbys.map(({ replica }) => replica)
}
