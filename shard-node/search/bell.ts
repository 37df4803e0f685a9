/** Wakes the owner of search threads when answers lie in their rings. */
export class Bell {
  readonly memory: SharedArrayBuffer
  /** 1: set. */
  readonly #state: Int32Array
  /** When it was rung last, by `clock`. Only ever a hint: nobody waits for it. */
  readonly #rungAtMs: Float64Array

  /** Of a bell that was made by another thread: with its memory. */
  constructor(memory = new SharedArrayBuffer(16)) {
    this.memory = memory
    this.#state = new Int32Array(memory, 0, 1)
    this.#rungAtMs = new Float64Array(memory, 8, 1)
  }

  /** Of the owner: a `ring` from now on ends the next `wait`. Look for answers between the two. */
  set(): void {
    Atomics.store(this.#state, 0, 1)
  }

  /** Of the owner: resolves when it has been rung since it was set. Does not keep a process alive. */
  async wait(): Promise<void> {
    const waiting = Atomics.waitAsync(this.#state, 0, 1)
    if (waiting.async) await waiting.value
  }

  /** Wakes the owner, once per `set`. */
  ring(): void {
    this.#rungAtMs[0] = clock()
    if (Atomics.exchange(this.#state, 0, 0) === 1) Atomics.notify(this.#state, 0)
  }

  /** Unless it was rung by anybody in the last so many milliseconds. */
  ringIfQuietFor(ms: number): void {
    if (clock() - this.#rungAtMs[0]! >= ms) this.ring()
  }
}

/** The same in all threads of a process, ms. */
function clock(): number {
  return performance.timeOrigin + performance.now()
}
