/** Counts of one second each, the newest last; for rates per second over the last ten. */
export class RateWindow {
  readonly #clock: () => number
  readonly #counts = new Float64Array(windowSeconds)
  #second = 0

  constructor(clock: () => number) {
    this.#clock = clock
  }

  add(count: number): void {
    this.#advance()
    this.#counts[this.#second % windowSeconds]! += count
  }

  perSecond(): number {
    this.#advance()
    return this.#counts.reduce((sum, count) => sum + count, 0) / windowSeconds
  }

  #advance(): void {
    const now = Math.floor(this.#clock() / 1000)
    const passed = Math.min(now - this.#second, windowSeconds)
    for (let i = 0; i < passed; i++) this.#counts[(now - i) % windowSeconds] = 0
    this.#second = Math.max(now, this.#second)
  }
}

const windowSeconds = 10
const bucketSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

interface RouteMeter {
  readonly statuses: Map<number, number>
  /** Requests per bucket, the last one for those above all bounds. Not cumulative. */
  readonly buckets: Float64Array
  seconds: number
}

/** What the gateway counts of itself. */
export class RequestMeter {
  readonly accepted: RateWindow
  readonly searches: RateWindow
  readonly #routes = new Map<string, RouteMeter>()
  #degraded = 0

  constructor(clock: () => number) {
    this.accepted = new RateWindow(clock)
    this.searches = new RateWindow(clock)
  }

  /** `route` is the pattern, such as `PUT /v1/items/:id`, so that the number of series is bounded. */
  answered(route: string, status: number, tookMs: number): void {
    const meter = this.#meter(route)
    meter.statuses.set(status, (meter.statuses.get(status) ?? 0) + 1)
    const seconds = tookMs / 1000
    const bucket = bucketSeconds.findIndex(bound => seconds <= bound)
    meter.buckets[bucket === -1 ? bucketSeconds.length : bucket]! += 1
    meter.seconds += seconds
  }

  searched(degraded: boolean): void {
    this.searches.add(1)
    if (degraded) this.#degraded++
  }

  /** Prometheus text of the counts. */
  *lines(): Generator<string> {
    yield '# TYPE freshet_http_requests_total counter'
    for (const [route, { statuses }] of this.#routes)
      for (const [status, count] of statuses)
        yield `freshet_http_requests_total{route="${route}",status="${status}"} ${count}`
    yield '# TYPE freshet_http_request_duration_seconds histogram'
    for (const [route, meter] of this.#routes) yield* histogram(route, meter)
    yield '# TYPE freshet_search_degraded_total counter'
    yield `freshet_search_degraded_total ${this.#degraded}`
  }

  #meter(route: string): RouteMeter {
    const known = this.#routes.get(route)
    if (known) return known
    const meter = { statuses: new Map(), buckets: new Float64Array(bucketSeconds.length + 1), seconds: 0 }
    this.#routes.set(route, meter)
    return meter
  }
}

function* histogram(route: string, { buckets, seconds }: RouteMeter): Generator<string> {
  const name = 'freshet_http_request_duration_seconds'
  let reached = 0
  for (const [index, bound] of [...bucketSeconds, '+Inf'].entries()) {
    reached += buckets[index]!
    yield `${name}_bucket{route="${route}",le="${bound}"} ${reached}`
  }
  yield `${name}_sum{route="${route}"} ${seconds}`
  yield `${name}_count{route="${route}"} ${reached}`
}
