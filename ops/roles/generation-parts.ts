import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { Generation } from '../../schemas/ids.ts'
import type { ControlState, GenerationStatus } from '../../topologies/control/control-state.ts'

export interface GenerationPartsOptions<Part> {
  /** Null where this process has nothing to do for the generation. `onFailure`: the part cannot go on, told later. */
  readonly open: (status: GenerationStatus, onFailure: (error: FreshetError) => void) => Promise<Part | null>
  readonly close: (part: Part) => Promise<void>
  /** Deletes what a retired generation has left here. Called again after each start, also when there is nothing. */
  readonly remove?: (status: GenerationStatus) => Promise<void>
  /** Between the end of a retired part and its removal, so that others end theirs before; default none. */
  readonly removeAfterMs?: number
  /** A part cannot be opened, or not go on, for a reason that will not pass by itself. */
  readonly onFailure: (generation: Generation, error: FreshetError) => void
  /** Monotonic ms. */
  readonly clock: () => number
}

interface Held<Part> {
  readonly part: Part | null
  failure: { readonly error: FreshetError; readonly atMs: number } | null
}

/** A part that failed while its generation has no queries is opened again after this. */
const reopenAfterMs = 5_000

/**
 * What a process runs for each generation that is not retired, such as its dispatcher. A part of a generation:
 * (known) opened ⇄ failed → (retired) closed → removed. One that fails stays failed while its generation answers
 * queries, so that the process ends and is started again; else it must not touch the others, and is opened again.
 */
export class GenerationParts<Part> {
  readonly #options: GenerationPartsOptions<Part>
  readonly #held = new Map<Generation, Held<Part>>()
  /** When what ran here of a retired generation was closed; Infinity once that is removed, too. */
  readonly #retired = new Map<Generation, number>()
  #generations: ControlState['generations'] = new Map()
  #isClosed = false

  constructor(options: GenerationPartsOptions<Part>) {
    this.#options = options
  }

  /** In the order of their start. */
  all(): readonly Part[] {
    return [...this.entries()].map(([, part]) => part)
  }

  entries(): ReadonlyMap<Generation, Part> {
    const parts = new Map<Generation, Part>()
    for (const generation of this.#generations.keys()) {
      const part = this.#held.get(generation)?.part ?? null
      if (part !== null) parts.set(generation, part)
    }
    return parts
  }

  /** Every generation that is not retired was opened here, and has not failed. */
  get isWhole(): boolean {
    return [...this.#generations].every(
      ([generation, { state }]) => state === 'retired' || this.#held.get(generation)?.failure === null,
    )
  }

  /** Why a generation that answers queries cannot go on here. */
  get failure(): FreshetError | null {
    for (const [generation, { share }] of this.#generations) {
      const failure = share > 0 ? this.#held.get(generation)?.failure : null
      if (failure) return failure.error
    }
    return null
  }

  /** Opens what is new, closes and removes what is retired. One call after the other. @throws FreshetError what may pass: call it again */
  async adopt({ generations }: ControlState): Promise<void> {
    this.#generations = generations
    const adopted = await Promise.allSettled(Array.from(generations.values(), status => this.#adoptOne(status)))
    const failed = adopted.find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** What is still being opened is closed when it is. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.all().map(part => this.#options.close(part)))
  }

  async #adoptOne(status: GenerationStatus): Promise<void> {
    const { generation } = status.started
    if (status.state === 'retired') return this.#retire(status)
    const held = this.#held.get(generation)
    if (held !== undefined && !this.#isToBeReopened(held, status)) return
    await this.#close(generation)
    await this.#open(status)
  }

  #isToBeReopened({ failure }: Held<Part>, { share }: GenerationStatus): boolean {
    return failure !== null && share === 0 && this.#options.clock() - failure.atMs >= reopenAfterMs
  }

  async #open(status: GenerationStatus): Promise<void> {
    const { generation } = status.started
    const failures: FreshetError[] = []
    let held: Held<Part> | null = null
    const onFailure = (error: FreshetError): void => {
      if (held === null) failures.push(error)
      else this.#fail(status, held, error)
    }
    try {
      held = { part: await this.#options.open(status, onFailure), failure: null }
    } catch (thrown) {
      const error = asFreshetError(thrown)
      if (error.retryable && error.code !== 'internal') throw error
      held = { part: null, failure: null }
      failures.push(error)
    }
    this.#held.set(generation, held)
    for (const error of failures) this.#fail(status, held, error)
    if (this.#isClosed) await this.#close(generation)
  }

  /** The first failure is told: the others follow from it. */
  #fail({ started: { generation } }: GenerationStatus, held: Held<Part>, error: FreshetError): void {
    if (held.failure !== null) return
    held.failure = { error, atMs: this.#options.clock() }
    this.#options.onFailure(generation, error)
  }

  async #retire(status: GenerationStatus): Promise<void> {
    const { generation } = status.started
    const { remove, removeAfterMs = 0, clock } = this.#options
    if (!this.#retired.has(generation)) {
      await this.#close(generation)
      this.#retired.set(generation, clock())
    }
    if (clock() - this.#retired.get(generation)! < removeAfterMs) return
    await remove?.(status)
    this.#retired.set(generation, Number.POSITIVE_INFINITY)
  }

  async #close(generation: Generation): Promise<void> {
    const part = this.#held.get(generation)?.part ?? null
    this.#held.delete(generation)
    if (part !== null) await this.#options.close(part)
  }
}
