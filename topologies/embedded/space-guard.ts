import { stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { FreshetError } from '../../schemas/errors.ts'

export interface SpaceLimits {
  readonly directory: string
  readonly maxBytes: number
  readonly minFreeBytes: number
  /** Bytes of live rows; asked only when the file itself is over `maxBytes`. */
  readonly usedBytes: () => number
}

const refreshIntervalMs = 250
/** A commit cut short with less than this left on the disk failed because the disk is full. */
const fullBelowBytes = 2 ** 20

/**
 * Says whether growing writes may go on. It looks at the disk in the background while writes go on, so that the write
 * path never waits for it; once space is low each refused write looks again, so that writes work as soon as there is
 * space.
 */
export class SpaceGuard {
  readonly #limits: SpaceLimits
  /** Why growing writes are refused. */
  #refusal: FreshetError | null = null
  #freeBytes = Number.POSITIVE_INFINITY
  #checkedAt = Number.NEGATIVE_INFINITY
  #checking: Promise<void> | null = null

  constructor(limits: SpaceLimits) {
    this.#limits = limits
  }

  isLow(): boolean {
    return this.#refusal !== null
  }

  /** Looks again in the background unless it did a moment ago. */
  refresh(): void {
    if (performance.now() - this.#checkedAt > refreshIntervalMs) void this.check()
  }

  check(): Promise<void> {
    this.#checking ??= this.#look().finally(() => {
      this.#checking = null
    })
    return this.#checking
  }

  /** Waits for a look under way. */
  async settled(): Promise<void> {
    await this.#checking
  }

  /** Whether the disk has no room at all, looked up now. */
  async isDiskFull(): Promise<boolean> {
    await this.check()
    return this.#freeBytes < fullBelowBytes
  }

  /** @throws FreshetError `storage-full` when space is still short; `storage-failed` when that cannot be told */
  async requireSpace(): Promise<void> {
    await this.check()
    if (this.#refusal !== null) throw this.#refusal
  }

  async #look(): Promise<void> {
    this.#checkedAt = performance.now()
    try {
      const shortage = await this.#findShortage()
      this.#refusal = shortage === null ? null : new FreshetError('storage-full', shortage)
    } catch (cause) {
      this.#refusal = new FreshetError('storage-failed', `the disk of ${this.#limits.directory} is gone`, { cause })
    }
  }

  async #findShortage(): Promise<string | null> {
    const { directory, maxBytes, minFreeBytes } = this.#limits
    const disk = await statfs(directory)
    this.#freeBytes = disk.bavail * disk.bsize
    if (this.#freeBytes < minFreeBytes)
      return `${this.#freeBytes} bytes are free on the disk of ${directory}, the limit is ${minFreeBytes}`
    return (await this.#isOver(maxBytes)) ? `the storage in ${directory} is at its bound of ${maxBytes} bytes` : null
  }

  /** The file never shrinks, so only when it is over the bound its live part is counted. */
  async #isOver(maxBytes: number): Promise<boolean> {
    if (maxBytes === Number.POSITIVE_INFINITY) return false
    const file = await stat(join(this.#limits.directory, 'data.mdb'))
    return file.size > maxBytes && this.#limits.usedBytes() > maxBytes
  }
}
