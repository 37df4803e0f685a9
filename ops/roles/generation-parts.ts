import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { Generation } from '../../schemas/ids.ts'
import type { ControlState, GenerationStatus } from '../../topologies/control/control-state.ts'

export interface GenerationPartsOptions<Part> {
  /** Null where this process has nothing to do for the generation. */
  readonly open: (status: GenerationStatus) => Promise<Part | null>
  readonly close: (part: Part) => Promise<void>
  /** A part that cannot be opened, for a reason that will not pass. It is not tried again. */
  readonly onFailure: (error: FreshetError) => void
}

/** What a process runs for each generation that is not retired, such as its dispatcher. */
export class GenerationParts<Part> {
  readonly #options: GenerationPartsOptions<Part>
  readonly #parts = new Map<Generation, Part | null>()

  constructor(options: GenerationPartsOptions<Part>) {
    this.#options = options
  }

  /** In the order in which they were opened. */
  all(): readonly Part[] {
    return [...this.#parts.values()].filter(part => part !== null)
  }

  /** Opens what is new, closes what is retired. One call after the other. @throws FreshetError what may pass: call it again */
  async adopt({ generations }: ControlState): Promise<void> {
    for (const [generation, status] of generations) {
      if (status.state === 'retired') await this.#retire(generation)
      else if (!this.#parts.has(generation)) await this.#open(status)
    }
  }

  /** After the last `adopt` has ended. */
  async close(): Promise<void> {
    await Promise.all(this.all().map(part => this.#options.close(part)))
  }

  async #open(status: GenerationStatus): Promise<void> {
    const { generation } = status.started
    try {
      this.#parts.set(generation, await this.#options.open(status))
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.retryable && error.code !== 'internal') throw error
      this.#parts.set(generation, null)
      this.#options.onFailure(error)
    }
  }

  async #retire(generation: Generation): Promise<void> {
    const part = this.#parts.get(generation) ?? null
    this.#parts.delete(generation)
    if (part !== null) await this.#options.close(part)
  }
}
