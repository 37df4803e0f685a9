import { setTimeout as pause } from 'node:timers/promises'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import { asPartition } from '../../schemas/ids.ts'
import { controlTopic } from '../../schemas/topics.ts'
import { ControlLog } from '../../topologies/control/control-log.ts'
import type { ControlState } from '../../topologies/control/control-state.ts'
import type { LogReader } from '../../topologies/event-log.ts'
import { News } from '../../topologies/news.ts'
import type { LogPorts } from '../storage.ts'

export interface ControlFollowerOptions {
  readonly ports: Pick<LogPorts, 'log' | 'codecs'>
  /**
   * Called with the state when it has changed, and once a second; one call after the other, of states that follow each
   * other quickly with the last alone. What it throws may pass.
   */
  readonly onState?: (state: ControlState) => Promise<void>
  /** The control log cannot be read, or `onState` has thrown: told once, until it works again. */
  readonly onTrouble: (error: FreshetError) => void
}

const lookEveryMs = 1_000
const closeWithinMs = 1_000
const partition = asPartition(0)

/**
 * Keeps a process on what the control log says: `state` is that of a moment ago, whatever `onState` is doing. While
 * the log is away, the last state holds.
 */
export class ControlFollower {
  readonly #options: ControlFollowerOptions
  readonly #control: ControlLog
  readonly #closing = new AbortController()
  readonly #news = new News()
  /** What does not work now. */
  readonly #troubles = new Map<'reading' | 'acting', FreshetError>()
  #running: Promise<unknown> = Promise.resolve()
  #reader: LogReader | null = null
  #actedOn: ControlState | null = null

  private constructor(options: ControlFollowerOptions) {
    this.#options = options
    const { log, codecs } = options.ports
    this.#control = new ControlLog({ log, codec: codecs.control })
  }

  /** Resolves when the state there is was passed on once, or that failed in a way that may pass. @throws FreshetError what will not */
  static async start(options: ControlFollowerOptions): Promise<ControlFollower> {
    const follower = new ControlFollower(options)
    await follower.#try('reading', async () => void (await follower.#control.refresh()))
    if (follower.#troubles.size === 0) await follower.#act()
    const lasting = [...follower.#troubles.values()].find(({ retryable }) => !retryable)
    if (lasting !== undefined) throw lasting
    follower.#running = Promise.all([follower.#readOn(), follower.#actOn()])
    return follower
  }

  get state(): ControlState {
    return this.#control.state
  }

  /** The log itself, for those who decide. */
  get log(): ControlLog {
    return this.#control
  }

  /** Waits for a call of `onState` under way, but not for one that hangs. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#news.tell()
    await this.#reader?.close()
    await Promise.race([this.#running, pause(closeWithinMs, undefined, { ref: false })])
  }

  async #readOn(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      await this.#try('reading', () => this.#readSome())
      if (this.#troubles.has('reading')) await this.#pause()
    }
    await this.#reader?.close()
  }

  /** A reader that failed is not asked again. */
  async #readSome(): Promise<void> {
    try {
      this.#reader ??= await this.#openReader()
      const records = await this.#reader.poll(256, lookEveryMs)
      if (records.length === 0) return
      await this.#control.take(records)
      this.#news.tell()
    } catch (thrown) {
      const failed = this.#reader
      this.#reader = null
      await failed?.close()
      if (!this.#closing.signal.aborted) throw thrown
    }
  }

  #openReader(): Promise<LogReader> {
    const from = new Map([[partition, this.#control.next]])
    return this.#options.ports.log.openReader({ topic: controlTopic, partitions: [partition], from })
  }

  async #actOn(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      if (this.#control.state === this.#actedOn) await this.#news.wait(lookEveryMs)
      if (signal.aborted) return
      await this.#act()
      if (!this.#troubles.has('acting')) continue
      await this.#pause()
      this.#actedOn = null
    }
  }

  #act(): Promise<void> {
    const { state } = this.#control
    this.#actedOn = state
    return this.#try('acting', async () => this.#options.onState?.(state))
  }

  async #try(what: 'reading' | 'acting', task: () => Promise<void>): Promise<void> {
    try {
      await task()
      this.#troubles.delete(what)
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (!this.#troubles.has(what)) this.#options.onTrouble(error)
      this.#troubles.set(what, error)
    }
  }

  async #pause(): Promise<void> {
    await pause(lookEveryMs, undefined, { signal: this.#closing.signal, ref: false }).catch(() => undefined)
  }
}
