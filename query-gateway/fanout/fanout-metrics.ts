import type { Attributes, Meter, ObservableResult } from '@opentelemetry/api'
import type { ShardReplica } from '../../schemas/shard-api.ts'
import type { AttemptKind } from './shard-ask.ts'
import type { ShardTraffic } from './shard-traffic.ts'

/** One request to one replica, at its end. */
export interface EndedAttempt {
  readonly shard: number
  readonly kind: AttemptKind
  readonly how: 'answered' | 'failed' | 'overtaken' | 'given-up'
  readonly tookMs: number
}

/** What the fan-out tells a meter. */
export interface FanoutMetrics {
  attempt(ended: EndedAttempt): void
  /** `won`: of those sent, the ones whose answer was used. */
  hedge(what: 'sent' | 'won' | 'denied'): void
  retry(what: 'sent' | 'denied'): void
}

const secondBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Durations in seconds, as OpenTelemetry has them. */
export function meterFanout(meter: Meter, { traffic, replicas, nowMs }: FanoutSubjects): FanoutMetrics {
  const duration = meter.createHistogram('freshet.search.shard.duration', {
    description: 'Requests to shard replicas, by why they were sent and how they ended',
    unit: 's',
    advice: { explicitBucketBoundaries: secondBounds },
  })
  const hedges = meter.createCounter('freshet.search.hedges', {
    description: 'Second replicas asked beside a slow one: sent, won, denied for lack of budget',
  })
  const retries = meter.createCounter('freshet.search.retries', {
    description: 'Replicas asked after another one failed: sent, denied for lack of budget',
  })
  observe(meter, { traffic, replicas, nowMs })
  const attributes = attributeCache()
  return {
    attempt: ended => duration.record(ended.tookMs / 1_000, attributes(ended)),
    hedge: what => hedges.add(1, { what }),
    retry: what => retries.add(1, { what }),
  }
}

export interface FanoutSubjects {
  readonly traffic: ShardTraffic
  /** Those known now. */
  readonly replicas: () => readonly ShardReplica[]
  readonly nowMs: () => number
}

function observe(meter: Meter, { traffic, replicas, nowMs }: FanoutSubjects): void {
  meter
    .createObservableGauge('freshet.search.extra_budget', {
      description: 'Extra requests to shards that may be sent now',
    })
    .addCallback(result => result.observe(traffic.extra.tokens))
  const perReplica = (observed: (replica: ShardReplica) => number) => (result: ObservableResult) => {
    for (const replica of replicas()) {
      const { generation, shard, replica: name } = replica
      result.observe(observed(replica), { generation, shard, replica: name })
    }
  }
  meter
    .createObservableGauge('freshet.search.replica.breaker', {
      description: 'Whether a replica is left out for being sick: 0 closed, 1 half-open, 2 open',
    })
    .addCallback(
      perReplica(replica => ({ closed: 0, trial: 1, open: 2 })[traffic.of(replica).breaker.admission(nowMs())]),
    )
  meter
    .createObservableGauge('freshet.search.replica.in_flight', {
      description: 'Searches a replica has in hand from here',
    })
    .addCallback(perReplica(replica => traffic.of(replica).inFlight))
}

/** One object for each kind of end: they are recorded many times per query. */
function attributeCache(): (ended: EndedAttempt) => Attributes {
  const known = new Map<string, Attributes>()
  return ({ shard, kind, how }) => {
    const key = `${shard} ${kind} ${how}`
    const held = known.get(key)
    if (held !== undefined) return held
    const made = { shard, kind, outcome: how }
    known.set(key, made)
    return made
  }
}
