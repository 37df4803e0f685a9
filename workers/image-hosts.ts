import { FreshetError } from '../schemas/errors.ts'

export interface ImageHostsOptions {
  /** Requests to one host at a time. */
  readonly maxPerHost: number
  /** Requests that may wait for one host; beyond it they fail with `image-host-busy`. */
  readonly maxWaitingPerHost: number
  /** Monotonic ms. */
  readonly clock: () => number
  /** Hosts in trouble that are remembered; the one that was in trouble first is forgotten. Default 10,000. */
  readonly maxHosts?: number
}

/** The host itself is in trouble (429, 503, unreachable, too slow): nobody asks it for a while. */
export interface HostTrouble {
  /** What the host asked for in Retry-After; 0 when it said nothing. */
  readonly pauseMs: number
}

interface Host {
  running: number
  readonly waiting: { enter(): void; refuse(error: FreshetError): void }[]
  troublesInARow: number
  notBeforeMs: number
}

const firstPauseMs = 1_000
const longestPauseMs = 5 * 60_000
/** Troubled hosts remembered beyond their pause; who asks for pictures of ever new hosts fills no memory here. */
const usualMaxHosts = 10_000

/**
 * Keeps peace with the hosts that images come from. Per host: a few requests at a time; after trouble a pause that
 * doubles, in which requests fail at once, so that one sick host never holds the places others need; after the pause
 * one request at a time, until one is answered.
 */
export class ImageHosts {
  readonly #options: ImageHostsOptions
  readonly #hosts = new Map<string, Host>()

  constructor(options: ImageHostsOptions) {
    this.#options = options
  }

  /**
   * Calls once the host may be asked. `troubleOf` tells whether what the call threw is the host's trouble.
   * @throws FreshetError `image-host-busy`, with `retryAfterMs` in its details, while the host has a pause
   */
  async visit<T>(name: string, call: () => Promise<T>, troubleOf: (thrown: unknown) => HostTrouble | null): Promise<T> {
    const host = this.#hostOf(name)
    await this.#enter(name, host)
    let trouble: HostTrouble | null = null
    try {
      return await call()
    } catch (thrown) {
      trouble = troubleOf(thrown)
      throw thrown
    } finally {
      this.#leave(name, host, trouble)
    }
  }

  #hostOf(name: string): Host {
    const known = this.#hosts.get(name)
    if (known) return known
    const host: Host = { running: 0, waiting: [], troublesInARow: 0, notBeforeMs: Number.NEGATIVE_INFINITY }
    this.#hosts.set(name, host)
    this.#forgetOldest(name)
    return host
  }

  /** Of those that nobody asks at the moment. */
  #forgetOldest(newest: string): void {
    if (this.#hosts.size <= (this.#options.maxHosts ?? usualMaxHosts)) return
    for (const [name, { running, waiting }] of this.#hosts) {
      if (running > 0 || waiting.length > 0 || name === newest) continue
      this.#hosts.delete(name)
      return
    }
  }

  async #enter(name: string, host: Host): Promise<void> {
    this.#refuseInPause(name, host)
    if (host.running < this.#placesOf(host)) {
      host.running++
      return
    }
    if (host.waiting.length >= this.#options.maxWaitingPerHost)
      throw new FreshetError('image-host-busy', `${host.waiting.length} requests wait for ${name}`)
    await new Promise<void>((enter, refuse) => host.waiting.push({ enter, refuse }))
  }

  #leave(name: string, host: Host, trouble: HostTrouble | null): void {
    host.running--
    if (trouble === null) host.troublesInARow = 0
    else this.#beginPause(name, host, trouble)
    while (host.running < this.#placesOf(host) && host.waiting.length > 0) {
      host.running++
      host.waiting.shift()?.enter()
    }
    if (host.running === 0 && host.troublesInARow === 0) this.#hosts.delete(name)
  }

  #beginPause(name: string, host: Host, { pauseMs }: HostTrouble): void {
    const growing = firstPauseMs * 2 ** Math.min(host.troublesInARow, 16)
    host.troublesInARow++
    host.notBeforeMs = this.#options.clock() + Math.min(longestPauseMs, Math.max(pauseMs, growing))
    for (const { refuse } of host.waiting.splice(0)) refuse(this.#pauseError(name, host))
  }

  #refuseInPause(name: string, host: Host): void {
    if (this.#options.clock() < host.notBeforeMs) throw this.#pauseError(name, host)
  }

  #pauseError(name: string, host: Host): FreshetError {
    const retryAfterMs = Math.max(0, host.notBeforeMs - this.#options.clock())
    return new FreshetError('image-host-busy', `${name} has trouble and is left in peace for now`, {
      details: { retryAfterMs },
    })
  }

  #placesOf(host: Host): number {
    return host.troublesInARow > 0 ? 1 : this.#options.maxPerHost
  }
}
