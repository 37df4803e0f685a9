import { setImmediate as afterThisTurn } from 'node:timers'

/** Work of one turn, ms: what a decoded answer takes, a few times over. */
const defaultBudgetMs = 1
/** Turns in a row that are left to new connections: some milliseconds, so that who only connects stops nobody. */
const mostLeftTurns = 20

export interface LoopTurnsOptions {
  readonly budgetMs?: number
  /** Monotonic. */
  readonly nowMs?: () => number
}

/**
 * The event loop's turns, shared out to what is heavy: a millisecond of it in each. The loop takes one new connection
 * in a turn, whatever waits at the door, so with dozens of answers decoded in a turn others wait for many seconds
 * before anyone can as much as refuse them. A piece runs at once while the turn has time left and nobody waits; others
 * wait in order of arrival, and while one connection after another comes in, they wait a little more.
 */
export class LoopTurns {
  readonly #waiting: (() => void)[] = []
  readonly #budgetMs: number
  readonly #nowMs: () => number
  /** To one whose work has not begun: how long it takes is not known yet. */
  #isGiven = false
  #isOpen = false
  #openedAtMs = 0
  /** This turn is for connections alone. */
  #isLeft = false
  #hasConnected = false
  #leftTurns = 0

  constructor({ budgetMs = defaultBudgetMs, nowMs = () => performance.now() }: LoopTurnsOptions = {}) {
    this.#budgetMs = budgetMs
    this.#nowMs = nowMs
  }

  /** Resolves when it is the caller's turn: to be awaited right before the work. */
  async mine(): Promise<void> {
    if (this.#waiting.length === 0 && !this.#isGiven && this.#hasTime()) {
      this.#isGiven = true
      // Behind the caller's work, which goes on in the next microtask.
      queueMicrotask(() => queueMicrotask(() => (this.#isGiven = false)))
      return
    }
    return new Promise<void>(resolve => {
      this.#waiting.push(resolve)
      afterThisTurn(this.#next)
    })
  }

  /** A connection was taken in this turn: behind it there may be others. */
  connected(): void {
    this.#hasConnected = true
  }

  /** Once for each that waits; what it wakes is done before the next one is called. */
  readonly #next = (): void => {
    if (this.#hasTime()) this.#waiting.shift()!()
    else afterThisTurn(this.#next)
  }

  #hasTime(): boolean {
    const now = this.#nowMs()
    if (!this.#isOpen) this.#open(now)
    return !this.#isLeft && now - this.#openedAtMs < this.#budgetMs
  }

  #open(now: number): void {
    this.#isOpen = true
    this.#openedAtMs = now
    this.#isLeft = this.#hasConnected && this.#leftTurns < mostLeftTurns && this.#waiting.length > 0
    this.#leftTurns = this.#isLeft ? this.#leftTurns + 1 : 0
    this.#hasConnected = false
    afterThisTurn(() => {
      this.#isOpen = false
    })
  }
}

/** Of this thread, which has one event loop. */
export const loopTurns = new LoopTurns()
