import { setImmediate as afterThisTurn } from 'node:timers'

/** Turns in a row that are left to new connections: some milliseconds, so that who only connects stops nobody. */
const mostLeftTurns = 20

/**
 * The event loop's turns, shared out to what is heavy: one piece of work in each. The loop takes one new connection in
 * a turn, whatever waits at the door, so with dozens of answers decoded in a turn others wait for many seconds before
 * anyone can as much as refuse them. A piece runs at once where none has had the turn; others wait in order of arrival,
 * and while one connection after another comes in, they wait a little more.
 */
export class LoopTurns {
  readonly #waiting: (() => void)[] = []
  #isTaken = false
  #hasConnected = false
  #leftTurns = 0

  /** Resolves when the turn is the caller's: to be awaited right before the work. */
  async mine(): Promise<void> {
    if (this.#isTaken) return new Promise<void>(resolve => this.#waiting.push(resolve))
    this.#isTaken = true
    this.#passOn()
  }

  /** A connection was taken in this turn: behind it there may be others. */
  connected(): void {
    this.#hasConnected = true
  }

  #passOn(): void {
    afterThisTurn(() => {
      const next = this.#isLeft() ? null : this.#waiting.shift()
      if (next === undefined) {
        this.#isTaken = false
        return
      }
      this.#passOn()
      next?.()
    })
  }

  /** Whether this turn is left to connections. */
  #isLeft(): boolean {
    const isLeft = this.#hasConnected && this.#leftTurns < mostLeftTurns && this.#waiting.length > 0
    this.#hasConnected = false
    this.#leftTurns = isLeft ? this.#leftTurns + 1 : 0
    return isLeft
  }
}

/** Of this thread, which has one event loop. */
export const loopTurns = new LoopTurns()
