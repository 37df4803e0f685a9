/** Wakes the owner of search threads when answers lie in their rings. */
export class Bell {
  readonly #words: Int32Array

  static create(): Bell {
    return new Bell(new Int32Array(new SharedArrayBuffer(4)))
  }

  /** The same one, in another thread. */
  constructor(words: Int32Array) {
    this.#words = words
  }

  /** To be passed to the other threads. */
  get words(): Int32Array {
    return this.#words
  }

  /** Of the owner: a `ring` from now on ends the next `wait`. Look for answers between the two. */
  set(): void {
    Atomics.store(this.#words, 0, 1)
  }

  /** Of the owner: resolves when it has been rung since it was set. Does not keep a process alive. */
  async wait(): Promise<void> {
    const waiting = Atomics.waitAsync(this.#words, 0, 1)
    if (waiting.async) await waiting.value
  }

  /** Costs a system call once per `set`. */
  ring(): void {
    if (Atomics.exchange(this.#words, 0, 0) === 1) Atomics.notify(this.#words, 0)
  }
}
