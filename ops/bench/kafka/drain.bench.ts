import { setTimeout as delay } from 'node:timers/promises'
import type { RemoteReplica } from '../../../query-gateway/remote/remote-replica.ts'
import { FreshetClient } from '../../../schemas/client.ts'
import { decodeF16, encodeF16, normalise } from '../../../schemas/unit-vector.ts'
import { seededRandom } from '../../../shard-node/testing/seeded-random.ts'
import { startFirstGeneration } from '../../first-generation.ts'
import { StubModel, stubDims, stubFingerprint } from '../../stub-model.ts'
import type { RoleProcess } from '../../testing/role-process.ts'
import { readTopicEpoch } from '../../topic-epoch.ts'
import { median, quantile } from '../figures.ts'
import { hardware, measure, type Report } from '../report.ts'
import { note } from '../scratch.ts'
import { BenchInstallation } from './bench-installation.ts'
import { type AcceptedEvent, appendAll, type PreparedEvent, prepareEvents } from './catalog-load.ts'
import type { KafkaBenchOptions } from './kafka-bench-options.ts'
import { searchableAfterMs, untilSearchable } from './replica-watch.ts'

interface Size {
  readonly backlog: number
  readonly steadySeconds: number
}

const sizes: Readonly<Record<KafkaBenchOptions['length'], Size>> = {
  full: { backlog: 100_000, steadySeconds: 20 },
  quick: { backlog: 10_000, steadySeconds: 5 },
  smoke: { backlog: 300, steadySeconds: 1 },
}

const seed = 1
const searchesPerSecond = 20
const livePerSecond = 2
const searchResults = 24

interface Searched {
  readonly latenciesMs: readonly number[]
  /** Answers that say that something is missing in them. */
  readonly degraded: number
}

interface Outcome {
  readonly drainSeconds: number
  readonly readSeconds: number
  readonly during: Searched
  readonly steady: Searched
  /** Accepted to searchable, ms: live events while the catalog still had backlog to be read, and after that. */
  readonly liveWhileReadingMs: readonly number[]
  readonly liveAfterMs: readonly number[]
}

/** Searches and live events while the backlog of a generation that has just begun drains. */
export async function drainBench({ length }: KafkaBenchOptions): Promise<Report> {
  const { backlog, steadySeconds } = sizes[length]
  const outcome = await BenchInstallation.with({ shards: 1 }, installation => drain(installation, sizes[length]))
  const { during, steady, liveWhileReadingMs, liveAfterMs } = outcome
  const live = [...liveWhileReadingMs, ...liveAfterMs]
  const p95 = ({ latenciesMs }: Searched): number => quantile(latenciesMs, 0.95)
  return {
    bench: 'drain',
    hardware: hardware(),
    data: `${backlog.toLocaleString('en')} items in the catalog before their generation is started, each with a stored picture of its own; ${searchesPerSecond} searches/s by random unit vectors, open loop, k = ${searchResults}, through the gateway; ${livePerSecond} live events/s; stub model; 1 dispatch, 1 work, 1 shard with one replica, 1 gateway, Kafka, Redis and the load on this machine`,
    seed,
    baseline: `the same searches for ${steadySeconds} s once everything is searchable and merged, nothing else going on`,
    measures: [
      measure('search p95 while the backlog drains / steady p95', p95(during) / p95(steady), '', { atMost: 3 }),
      measure('live event, accepted to searchable, longest', Math.max(...live), 'ms', { atMost: 2_000 }),
      measure('live event, accepted to searchable, median', median(live), 'ms'),
      ...(liveWhileReadingMs.length === 0
        ? []
        : [measure('live event while the backlog is read, longest', Math.max(...liveWhileReadingMs), 'ms')]),
      ...(liveAfterMs.length === 0
        ? []
        : [measure('live event while the queue drains, longest', Math.max(...liveAfterMs), 'ms')]),
      measure('search while the backlog drains, p95', p95(during), 'ms'),
      measure('search while the backlog drains, p50', median(during.latenciesMs), 'ms'),
      measure('search, steady, p95', p95(steady), 'ms'),
      measure('search, steady, p50', median(steady.latenciesMs), 'ms'),
      measure('searches answered in part, of all', during.degraded + steady.degraded, ''),
      measure('backlog read into the queue after', outcome.readSeconds, 's'),
      measure('backlog searchable after', outcome.drainSeconds, 's'),
      measure('backlog, sustained', backlog / outcome.drainSeconds, 'events/s'),
    ],
  }
}

async function drain(installation: BenchInstallation, { backlog, steadySeconds }: Size): Promise<Outcome> {
  await appendAll(installation, prepareEvents(installation, { prefix: 'backlog', count: backlog }))
  const liveEvents = prepareEvents(installation, { prefix: 'live', count: livePerSecond * 240 })
  await startGeneration(installation)
  const [replica, gateway] = await Promise.all([installation.startShard(0, 'a'), installation.start('gateway')])
  const [dispatch] = await Promise.all([installation.start('dispatch'), installation.start('work')])
  const searches = new PacedSearches(gateway.url)
  const live = new LiveEvents(installation, liveEvents)
  const began = performance.now()
  const [read, drainSeconds] = await Promise.all([
    untilRead(dispatch).then(() => ({ endedAtMs: Date.now(), seconds: secondsSince(began) })),
    untilSearchable([replica], backlog).then(() => secondsSince(began)),
  ])
  const accepted = await live.stop()
  const during = await searches.stop()
  note(`${drainSeconds.toFixed(1)} s until all is searchable; the catalog was read after ${read.seconds.toFixed(1)} s`)
  await untilSearchable([replica], backlog + accepted.length)
  const latencies = await searchableAfterMs([replica], accepted)
  await untilSettled(replica)
  const steady = await steadySearches(gateway.url, steadySeconds)
  await replica.close()
  const isReading = accepted.map(({ appendTimeMs }) => appendTimeMs < read.endedAtMs)
  return {
    drainSeconds,
    readSeconds: read.seconds,
    during,
    steady,
    liveWhileReadingMs: latencies.filter((_, i) => isReading[i]),
    liveAfterMs: latencies.filter((_, i) => !isReading[i]),
  }
}

/** What lies in the catalog by now is backlog, as for every generation that is started over a catalog. */
async function startGeneration({ config, log, codecs }: BenchInstallation): Promise<void> {
  const topicEpoch = await readTopicEpoch(log, codecs.catalog)
  const ports = { log, codecs, partitions: config.partitions, topicEpoch }
  await startFirstGeneration({ config, ports, model: new StubModel(), by: 'bench', clock: Date.now })
}

const secondsSince = (beganMs: number): number => (performance.now() - beganMs) / 1_000

async function steadySearches(url: string, seconds: number): Promise<Searched> {
  const searches = new PacedSearches(url)
  await delay(seconds * 1_000)
  return searches.stop()
}

/** Searches at a steady rate. Time counts from when each was due, so that one that waits for others counts whole. */
class PacedSearches {
  readonly #client: FreshetClient
  readonly #random = seededRandom(seed)
  readonly #latenciesMs: number[] = []
  readonly #began = performance.now()
  readonly #timer: NodeJS.Timeout
  readonly #running = new Set<Promise<void>>()
  #sent = 0
  #degraded = 0

  constructor(baseUrl: string) {
    this.#client = new FreshetClient({ baseUrl })
    // Not to keep a bench alive that has failed elsewhere.
    this.#timer = setInterval(() => this.#sendDue(), 1).unref()
  }

  /** Resolves when all are answered. @throws what a search failed with */
  async stop(): Promise<Searched> {
    clearInterval(this.#timer)
    await Promise.all(this.#running)
    return { latenciesMs: this.#latenciesMs, degraded: this.#degraded }
  }

  #sendDue(): void {
    for (let due = this.#dueMs(); performance.now() >= due; due = this.#dueMs()) {
      this.#sent++
      const running = this.#search(due)
      this.#running.add(running)
      // A failure shows when it is stopped.
      running.then(
        () => this.#running.delete(running),
        () => {},
      )
    }
  }

  #dueMs(): number {
    return this.#began + (this.#sent * 1_000) / searchesPerSecond
  }

  async #search(dueMs: number): Promise<void> {
    const vector = decodeF16(encodeF16(normalise(Float32Array.from({ length: stubDims }, () => this.#random() - 0.5))))
    const { degraded } = await this.#client.search({
      vector: Array.from(vector),
      fingerprint: stubFingerprint,
      k: searchResults,
    })
    if (degraded.length > 0) this.#degraded++
    this.#latenciesMs.push(performance.now() - dueMs)
  }
}

/** Events that come while the backlog drains, one at a time; the first at once, as a short backlog drains within a turn. */
class LiveEvents {
  readonly #accepted: Promise<readonly AcceptedEvent[]>[] = []
  readonly #timer: NodeJS.Timeout

  constructor(installation: BenchInstallation, events: readonly PreparedEvent[]) {
    const append = () => {
      const event = events[this.#accepted.length]
      if (event === undefined) return
      const accepted = appendAll(installation, [event])
      // A failure shows when they are stopped.
      accepted.catch(() => {})
      this.#accepted.push(accepted)
    }
    append()
    this.#timer = setInterval(append, 1_000 / livePerSecond).unref()
  }

  async stop(): Promise<readonly AcceptedEvent[]> {
    clearInterval(this.#timer)
    return (await Promise.all(this.#accepted)).flat()
  }
}

const lookEveryMs = 200
const readWithinMs = 240_000

/** Resolves when the dispatcher first has nothing left to read, or nearly: live events go on coming. */
async function untilRead(dispatch: RoleProcess): Promise<void> {
  const deadline = performance.now() + readWithinMs
  for (;;) {
    const { text } = await dispatch.get('/metrics')
    const lags = [...text.matchAll(/^freshet_dispatch_lag_events\{[^}]*\} (\d+)/gm)].map(([, lag]) => Number(lag))
    if (lags.length > 0 && lags.reduce((sum, lag) => sum + lag, 0) < livePerSecond * 2) return
    if (performance.now() > deadline)
      throw new Error(`the dispatcher has not read the catalog: ${text.slice(0, 2_000)}`)
    await delay(lookEveryMs)
  }
}

const quietMs = 3_000

/** Resolves when the layout of the index has not changed for a while. */
async function untilSettled(replica: RemoteReplica): Promise<void> {
  const layout = async () => {
    const { rows, segments, storage } = await replica.status()
    return JSON.stringify([rows, segments, storage?.graphs])
  }
  let last = await layout()
  for (let sinceMs = performance.now(); performance.now() - sinceMs < quietMs; await delay(lookEveryMs)) {
    const now = await layout()
    if (now !== last) sinceMs = performance.now()
    last = now
  }
}
