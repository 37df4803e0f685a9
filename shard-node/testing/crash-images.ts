import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { DiskStep, OnDiskStep } from '../files/disk-steps.ts'

/** The files of a shard as a crash before one disk step leaves them. */
export interface CrashImage {
  readonly directory: string
  /** Which step did not happen, for messages. */
  readonly before: string
}

/** What the disk keeps of bytes that were written and not yet synced. */
export type Unsynced = 'kept' | 'half lost' | 'half zeroed' | 'lost'

/**
 * Copies a shard's directory before its disk steps: each copy is what a process that ends there leaves, or a machine,
 * when what was not synced is damaged. The copy is taken on the thread that makes the steps, so that none of them
 * lies within it.
 */
export class CrashImages {
  readonly images: CrashImage[] = []
  /** All steps, taken or not. */
  steps = 0
  readonly #source: string
  readonly #target: string
  readonly #takes: (step: string, index: number) => Unsynced | null
  /** By file: its bytes when it was last synced, as it lies under its own name or that of its new version. */
  readonly #synced = new Map<string, number>()
  readonly #written = new Set<string>()
  #follows = true

  /** `takes` says of each step, named as in `rename rows-3`, whether a copy is made and what becomes of unsynced bytes. */
  constructor(
    source: string,
    options: { readonly target: string; readonly takes: (step: string, index: number) => Unsynced | null },
  ) {
    this.#source = source
    this.#target = options.target
    this.#takes = options.takes
  }

  readonly onDiskStep: OnDiskStep = (step, file) => {
    const name = `${step} ${file}`
    const unsynced = this.#takes(name, this.steps)
    if (unsynced !== null && existsSync(this.#source)) this.#take(name, this.#follows ? unsynced : 'kept')
    if (this.#follows) this.#follow(step, file)
    this.steps++
  }

  /**
   * While steps are made in two directories under the same names, which bytes are synced cannot be told: images keep
   * them all. Everything must be synced when it ends.
   */
  async whileAmbiguous<T>(work: () => Promise<T>): Promise<T> {
    this.#follows = false
    try {
      return await work()
    } finally {
      for (const name of readdirSync(this.#source)) this.#synced.set(name, this.#sizeOf(name))
      this.#written.clear()
      this.#follows = true
    }
  }

  #take(name: string, unsynced: Unsynced): void {
    const directory = join(this.#target, `image-${this.steps}`)
    copyAsCrashed(this.#source, directory)
    if (unsynced !== 'kept') this.#damage(directory, unsynced)
    this.images.push({ directory, before: `step ${this.steps} (${name}), unsynced bytes ${unsynced}` })
  }

  #damage(directory: string, unsynced: Unsynced): void {
    for (const name of this.#written) {
      const file = newestOf(directory, name)
      if (file === null) continue
      const path = join(directory, file)
      const { size } = statSync(path)
      const synced = Math.min(size, this.#synced.get(name) ?? 0)
      const kept = unsynced === 'lost' ? synced : synced + Math.floor((size - synced) / 2)
      truncateSync(path, kept)
      if (unsynced === 'half zeroed') truncateSync(path, size)
    }
  }

  /** A sync that has begun counts as done: what it covers may be there. */
  #follow(step: DiskStep, file: string): void {
    switch (step) {
      case 'create':
        this.#synced.set(file, 0)
        this.#written.delete(file)
        break
      case 'write':
        this.#written.add(file)
        break
      case 'sync':
        this.#synced.set(file, this.#sizeOf(file))
        this.#written.delete(file)
        break
      case 'rename':
      case 'link':
      case 'remove':
      case 'sync-directory':
        break
    }
  }

  #sizeOf(name: string): number {
    const file = newestOf(this.#source, name)
    return file === null ? 0 : statSync(join(this.#source, file)).size
  }
}

/**
 * The files of a running shard as they lie now. What other threads and processes remove meanwhile is in no manifest:
 * the owner's thread, which publishes them, waits for this.
 */
export function copyAsCrashed(source: string, target: string): void {
  mkdirSync(target, { recursive: true })
  for (const file of readdirSync(source))
    try {
      copyFileSync(join(source, file), join(target, file))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
}

/** The file that writes to this name go to: its new version while there is one, else itself. */
function newestOf(directory: string, name: string): string | null {
  return [`${name}.tmp`, name].find(file => existsSync(join(directory, file))) ?? null
}
