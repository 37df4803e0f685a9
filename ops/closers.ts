/** Everything a process has opened, newest last; closed in the other order. */
export class Closers {
  readonly #closers: (() => Promise<void>)[] = []
  #closing: Promise<void> | null = null

  add(close: () => Promise<void>): void {
    this.#closers.push(close)
  }

  /** Closes all of them, even when one fails. Repeatable. @throws the first failure */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll()
    return this.#closing
  }

  async #closeAll(): Promise<void> {
    const failures: unknown[] = []
    for (const close of this.#closers.reverse()) await close().catch(thrown => failures.push(thrown))
    if (failures.length > 0) throw failures[0]
  }
}
