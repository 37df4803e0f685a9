import type { RemoteReplica } from '../../../query-gateway/remote/remote-replica.ts'
import { quantile } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { BenchInstallation } from './bench-installation.ts'
import { appendAll, appendPaced, prepareEvents } from './catalog-load.ts'
import type { KafkaBenchOptions } from './kafka-bench-options.ts'
import { searchableAfterMs, untilSearchable } from './replica-watch.ts'

interface Size {
  /** Events of the window that says what the machine can do. */
  readonly most: number
  readonly seconds: number
}

const sizes: Readonly<Record<KafkaBenchOptions['length'], Size>> = {
  full: { most: 12_000, seconds: 60 },
  quick: { most: 3_000, seconds: 8 },
  smoke: { most: 200, seconds: 1 },
}

const wantedPerSecond = 580
const shareOfMost = 0.8
const warmUpEvents = 2_000

/** Accepted by Kafka to searchable on both replicas, under a steady load. */
export async function kafkaFreshnessBench({ length }: KafkaBenchOptions): Promise<Report> {
  const { most, seconds } = sizes[length]
  const { mostPerSecond, perSecond, latenciesMs } = await BenchInstallation.with({ shards: 1 }, installation =>
    underLoad(installation, sizes[length]),
  )
  return {
    bench: 'kafka-freshness',
    hardware: hardware(),
    data: `${perSecond.toFixed(0)} new items/s for ${seconds} s, open loop, each with a stored picture of its own; stub model; 1 dispatch, 1 work, 1 shard with two replicas, Kafka, Redis and the load on this machine`,
    seed: null,
    baseline: `absolute: a second, as a person notices it. Offered is ${wantedPerSecond}/s, or ${shareOfMost} of what ${most.toLocaleString('en')} events at once were taken at, whichever is less. From the broker's append time to when the slower replica applied the item, as its own registers tell`,
    measures: [
      measure('accepted to searchable on both replicas, p99', quantile(latenciesMs, 0.99), 'ms', { atMost: 930 }),
      measure('accepted to searchable on both replicas, p50', quantile(latenciesMs, 0.5), 'ms'),
      measure('accepted to searchable on both replicas, p90', quantile(latenciesMs, 0.9), 'ms'),
      measure('accepted to searchable on both replicas, longest', quantile(latenciesMs, 1), 'ms'),
      measure('offered', perSecond, 'events/s'),
      measure('taken when all come at once', mostPerSecond, 'events/s'),
    ],
  }
}

async function underLoad(installation: BenchInstallation, { most, seconds }: Size) {
  const [, , ...replicas] = await Promise.all([
    installation.start('dispatch'),
    installation.start('work'),
    installation.startShard(0, 'a'),
    installation.startShard(0, 'b'),
  ])
  try {
    const warm = Math.min(most, warmUpEvents)
    await takenPerSecond(installation, replicas, { name: 'warm', count: warm, before: 0 })
    const mostPerSecond = await takenPerSecond(installation, replicas, { name: 'most', count: most, before: warm })
    const perSecond = Math.min(wantedPerSecond, shareOfMost * mostPerSecond)
    note(`${mostPerSecond.toFixed(0)}/s when all come at once; ${perSecond.toFixed(0)}/s are offered now`)
    const events = prepareEvents(installation, { prefix: 'item', count: Math.ceil(perSecond * seconds) })
    const accepted = await appendPaced(installation, events, perSecond)
    await untilSearchable(replicas, replicas.length * (warm + most + events.length))
    return { mostPerSecond, perSecond, latenciesMs: await searchableAfterMs(replicas, accepted) }
  } finally {
    await Promise.all(replicas.map(replica => replica.close()))
  }
}

async function takenPerSecond(
  installation: BenchInstallation,
  replicas: readonly RemoteReplica[],
  { name, count, before }: { readonly name: string; readonly count: number; readonly before: number },
): Promise<number> {
  const events = prepareEvents(installation, { prefix: name, count })
  const began = performance.now()
  await Promise.all([appendAll(installation, events), untilSearchable(replicas, replicas.length * (before + count))])
  return (count / (performance.now() - began)) * 1_000
}
