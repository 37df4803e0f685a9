/** Longer timers of Node fire at once. */
const maxTimerMs = 2 ** 31 - 1

/** What one reader waits for and others tell. Told while nobody waits, it is not kept: look before you wait. */
export class News {
  #wake: (() => void) | null = null

  get isAwaited(): boolean {
    return this.#wake !== null
  }

  tell(): void {
    this.#wake?.()
  }

  /** Resolves when it is told, or after the time, in ms. One call at a time. */
  wait(waitMs: number): Promise<void> {
    if (waitMs <= 0) return Promise.resolve()
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#wake = null
        resolve()
      }
      const timer = setTimeout(wake, Math.min(waitMs, maxTimerMs))
      this.#wake = wake
    })
  }
}
