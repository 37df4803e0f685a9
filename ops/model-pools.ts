import type { Logger } from 'pino'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, Generation } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import type { ControlState, GenerationStatus } from '../topologies/control/control-state.ts'
import { type ModelConfig, type ModelProcess, type ModelRole, openModel } from './image-roles.ts'
import type { DurationSum } from './rebuild-throttle.ts'

export interface ModelPoolsOptions {
  readonly config: ModelConfig
  readonly log: Logger
  /** Told when a model cannot be opened, not again until it was. */
  readonly onAlarm: (error: FreshetError) => void
  /** Monotonic ms. */
  readonly clock: () => number
}

/** A model that cannot be opened is tried again after this: it may have been added meanwhile. */
const retryAfterMs = 3_000

type Held =
  | { readonly type: 'open'; readonly role: ModelRole }
  | { readonly type: 'failed'; readonly error: FreshetError; readonly atMs: number }

/**
 * The models of all generations that are not retired, each opened once, whatever generations were built with it. One
 * that is not there, or is not what the generation was started with, leaves the others as they are: its generations
 * are not held here.
 */
export class ModelPools {
  readonly #options: ModelPoolsOptions
  readonly #held = new Map<Fingerprint, Held>()
  #generations: readonly GenerationStatus[] = []
  /** What is being opened now. */
  readonly #opening = new Map<Fingerprint, Promise<void>>()
  #isClosed = false
  readonly #queries = { count: 0, sumMs: 0 }

  constructor(options: ModelPoolsOptions) {
    this.#options = options
  }

  /**
   * Opens what is needed and missing, closes what is needed no more. Resolves when what queries need is held, or cannot
   * be; the other models are opened afterwards, so that no start waits for them. One call after the other; never rejects.
   */
  async adopt({ generations }: ControlState): Promise<void> {
    this.#generations = [...generations.values()].filter(({ state }) => state !== 'retired')
    const names = new Map(this.#generations.map(({ started }) => [started.fingerprint, started.model]))
    for (const [fingerprint, held] of this.#held)
      if (held.type === 'open') held.role.setBackground(this.#isBackground(fingerprint))
    const unused = [...this.#held.keys()].filter(fingerprint => !names.has(fingerprint))
    const missing = [...names].filter(([fingerprint]) => this.#isToBeOpened(fingerprint))
    const serving = new Set(this.#generations.flatMap(({ started, share }) => (share > 0 ? [started.fingerprint] : [])))
    const isUrgent = ([fingerprint]: readonly [Fingerprint, string]) => serving.has(fingerprint)
    await Promise.all([
      ...unused.map(fingerprint => this.#close(fingerprint)),
      ...missing.filter(isUrgent).map(each => this.#open(...each)),
    ])
    for (const each of missing) if (!isUrgent(each)) void this.#open(...each)
  }

  /** Undefined while it is not held here. */
  modelOf(generation: Generation): ImageModel | undefined {
    const held = this.#heldFor(generation)
    return held?.type === 'open' ? held.role.model : undefined
  }

  /** Why the model of a generation cannot be had; null when it can, or is about to be opened. */
  failureOf(generation: Generation): FreshetError | null {
    const held = this.#heldFor(generation)
    return held?.type === 'failed' ? held.error : null
  }

  /** Why not all generations that answer queries are held here; null when they are. */
  whyNotHeld(): string | null {
    const missing = this.#generations.find(
      ({ started, share }) => share > 0 && this.modelOf(started.generation) === undefined,
    )
    if (missing === undefined) return null
    const { generation, model } = missing.started
    return `generation ${generation}: ${this.failureOf(generation)?.message ?? `model ${model} is being loaded`}`
  }

  /** Why a model that is held cannot work now; null when all can. */
  whyNotRunning(): string | null {
    const without = this.#roles().find(({ role }) => {
      const processes = role.processes()
      return processes.length > 0 && !processes.some(({ state }) => state === 'running')
    })
    return without === undefined ? null : `no process of model ${without.role.model.model} is running`
  }

  /** None of the processes has ended for good. */
  get isWhole(): boolean {
    return this.processes().every(({ state }) => state !== 'stopped')
  }

  /** What queries of all models took, and waited for them, since the start. */
  get queries(): DurationSum {
    return { ...this.#queries }
  }

  processes(): readonly ModelProcess[] {
    return this.#roles().flatMap(({ role }) => role.processes())
  }

  /** What is still being opened is closed when it is. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(Array.from(this.#held.keys(), fingerprint => this.#close(fingerprint)))
  }

  /** No query needs it yet: what is built with it gives way to models that answer. From the canary on it is as they are. */
  #isBackground(fingerprint: Fingerprint): boolean {
    const users = this.#generations.filter(({ started }) => started.fingerprint === fingerprint)
    return users.every(({ state }) => state === 'building' || state === 'verifying')
  }

  #roles() {
    return [...this.#held.values()].filter(held => held.type === 'open')
  }

  #heldFor(generation: Generation): Held | undefined {
    const status = this.#generations.find(({ started }) => started.generation === generation)
    return status && this.#held.get(status.started.fingerprint)
  }

  #isToBeOpened(fingerprint: Fingerprint): boolean {
    if (this.#opening.has(fingerprint)) return false
    const held = this.#held.get(fingerprint)
    if (held === undefined) return true
    return held.type === 'failed' && this.#options.clock() - held.atMs >= retryAfterMs
  }

  #open(fingerprint: Fingerprint, name: string): Promise<void> {
    const opening = this.#openNow(fingerprint, name).finally(() => this.#opening.delete(fingerprint))
    this.#opening.set(fingerprint, opening)
    return opening
  }

  async #openNow(fingerprint: Fingerprint, name: string): Promise<void> {
    const { config, log, onAlarm, clock } = this.#options
    try {
      const role = await openAs(fingerprint, () => openModel(config, log, name, this.#isBackground(fingerprint)))
      this.#held.set(fingerprint, { type: 'open', role: { ...role, model: this.#timed(role.model) } })
      log.info({ model: name, fingerprint }, 'model is held')
      if (this.#isClosed) await this.#close(fingerprint)
    } catch (thrown) {
      const error = explained(asFreshetError(thrown), name)
      if (!this.#held.has(fingerprint)) onAlarm(error)
      this.#held.set(fingerprint, { type: 'failed', error, atMs: clock() })
    }
  }

  #timed(model: ImageModel): ImageModel {
    const { model: name, fingerprint, dims } = model
    return {
      model: name,
      fingerprint,
      dims,
      index: (image, digest, signal) => model.index(image, digest, signal),
      analyse: async (image, selection, signal) => {
        const startedMs = this.#options.clock()
        const analysed = await model.analyse(image, selection, signal)
        this.#queries.count++
        this.#queries.sumMs += this.#options.clock() - startedMs
        return analysed
      },
    }
  }

  async #close(fingerprint: Fingerprint): Promise<void> {
    const held = this.#held.get(fingerprint)
    this.#held.delete(fingerprint)
    if (held?.type === 'open') await held.role.close()
  }
}

/** @throws FreshetError `fingerprint-mismatch` when another model has the name here */
async function openAs(fingerprint: Fingerprint, open: () => Promise<ModelRole>): Promise<ModelRole> {
  const role = await open()
  if (role.model.fingerprint === fingerprint) return role
  await role.close()
  throw new FreshetError(
    'fingerprint-mismatch',
    `the model ${role.model.model} here has fingerprint ${role.model.fingerprint}, the generation was started with ${fingerprint}`,
  )
}

function explained(error: FreshetError, name: string): FreshetError {
  const what =
    `model ${name} is not held here, and nothing is embedded with it: ${error.message}. ` +
    'It is tried again every few seconds; where it is missing, add it with `freshet model add`'
  return new FreshetError(error.code, what, { cause: error })
}
