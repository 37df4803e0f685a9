import type { Counter, Histogram, Meter } from '@opentelemetry/api'
import type { SearchAnswer } from '../schemas/http-search.ts'

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
const requestSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** What the gateway counts of itself. */
export class RequestMeter {
  readonly accepted: RateWindow
  readonly searches: RateWindow
  readonly #requests: Counter
  readonly #requestSeconds: Histogram
  readonly #degraded: Counter
  readonly #degradations: Counter

  constructor(clock: () => number, meter: Meter) {
    this.accepted = new RateWindow(clock)
    this.searches = new RateWindow(clock)
    this.#requests = meter.createCounter('freshet.http.requests', { description: 'Requests answered' })
    this.#requestSeconds = meter.createHistogram('freshet.http.request.duration', {
      unit: 's',
      description: 'Time from a request to the end of its answer',
      advice: { explicitBucketBoundaries: requestSeconds },
    })
    this.#degraded = meter.createCounter('freshet.search.degraded', {
      description: 'Searches whose answer was not whole',
    })
    this.#degradations = meter.createCounter('freshet.search.degradations', {
      description: 'Why answers were not whole, by code; an answer may have several',
    })
    this.#degraded.add(0)
  }

  /** `route` is the pattern, such as `PUT /v1/items/:id`, so that the number of series is bounded. */
  answered(route: string, status: number, tookMs: number): void {
    this.#requests.add(1, { route, status })
    this.#requestSeconds.record(tookMs / 1000, { route })
  }

  searched({ degraded }: Pick<SearchAnswer, 'degraded'>): void {
    this.searches.add(1)
    if (degraded.length > 0) this.#degraded.add(1)
    for (const code of degraded) this.#degradations.add(1, { code })
  }
}
