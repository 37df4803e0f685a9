import type { Admission } from './circuit-breaker.ts'

/** A replica as it stands when a query comes. */
export interface Standby<R> {
  readonly replica: R
  /** Ready, and not much staler than a sibling. */
  readonly isFresh: boolean
  readonly admission: Admission
  /** Requests it has in hand from here. */
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
  const others = [...shuffled(fresh, random), ...stale]
  return others.length > 0 ? [...trial, ...others, ...sick] : [...trial, ...sick]
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
