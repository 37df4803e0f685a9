import type { Writable } from 'node:stream'
import { setImmediate as afterThisTurn } from 'node:timers'

/**
 * Has what is written to a stream in one turn of the event loop leave in one write, whichever connections it was read
 * from: a write costs more than a frame, here and where it is read.
 */
export class TurnCork {
  readonly #stream: Writable
  #isCorked = false
  readonly #uncork = (): void => {
    this.#isCorked = false
    this.#stream.uncork()
  }

  constructor(stream: Writable) {
    this.#stream = stream
  }

  /** To be called right before each write. */
  hold(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#stream.cork()
    afterThisTurn(this.#uncork)
  }
}
