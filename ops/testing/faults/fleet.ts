import { isAlive } from '../../../topologies/servers/server-process.ts'
import type { RoleName } from '../../roles/role.ts'
import { RoleProcess } from '../role-process.ts'

/** One place for a process of a role. Whoever runs there has the same configuration. */
export interface FleetPlace {
  /** Such as `dispatch-1`. */
  readonly name: string
  readonly role: RoleName
  readonly args: readonly string[]
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Default 120 s. */
  readonly withinMs?: number
}

const readyWithinMs = 120_000

/** The processes of an installation, each in its place: what Kubernetes is elsewhere, but nothing is started by itself. */
export class Fleet {
  readonly #env: Readonly<Record<string, string>>
  readonly #places: ReadonlyMap<string, FleetPlace>
  readonly #running = new Map<string, RoleProcess>()
  readonly #starting = new Set<Promise<RoleProcess>>()

  constructor(places: readonly FleetPlace[], env: Readonly<Record<string, string>>) {
    this.#places = new Map(places.map(place => [place.name, place]))
    this.#env = env
  }

  /** In order of the places. */
  names(role?: RoleName): readonly string[] {
    return [...this.#places.values()].filter(place => role === undefined || place.role === role).map(({ name }) => name)
  }

  /** @throws Error when nobody runs there */
  process(name: string): RoleProcess {
    const process = this.#running.get(name)
    if (process === undefined) throw new Error(`no process runs as ${name}`)
    return process
  }

  isRunning(name: string): boolean {
    return this.#running.has(name)
  }

  /** Resolves when it is ready. `env` is added to that of all. @throws Error with what it printed, also when it is not ready in time */
  async start(name: string, { env = {}, withinMs = readyWithinMs }: StartOptions = {}): Promise<void> {
    if (this.#running.has(name)) throw new Error(`a process runs as ${name} already`)
    const place = this.#places.get(name)
    if (place === undefined) throw new Error(`there is no place ${name}`)
    const options = { env: { ...this.#env, ...env }, args: place.args, readyWithinMs: withinMs }
    const starting = RoleProcess.start(place.role, options)
    this.#starting.add(starting)
    try {
      this.#running.set(name, await starting)
    } finally {
      this.#starting.delete(starting)
    }
  }

  async startAll(names: readonly string[] = this.names()): Promise<void> {
    await allSettled(names.filter(name => !this.#running.has(name)).map(name => this.start(name)))
  }

  /** SIGKILL. */
  async kill(name: string): Promise<void> {
    const process = this.process(name)
    this.#running.delete(name)
    await process.kill()
  }

  /** SIGTERM. @throws Error when it does not drain */
  async stop(name: string): Promise<void> {
    const process = this.process(name)
    this.#running.delete(name)
    const exitCode = await process.stop()
    if (exitCode !== 0) throw new Error(`${name} ended with ${exitCode} on SIGTERM:\n${process.output()}`)
  }

  /** SIGSTOP: it stands still and says nothing, as a machine does that is starved. */
  freeze(name: string): void {
    globalThis.process.kill(this.process(name).pid, 'SIGSTOP')
  }

  thaw(name: string): void {
    globalThis.process.kill(this.process(name).pid, 'SIGCONT')
  }

  /** Those that have ended by themselves, or are not ready, each with why. */
  async troubles(): Promise<readonly string[]> {
    const troubles = await Promise.all([...this.#running].map(([name, process]) => troubleOf(name, process)))
    return troubles.filter(trouble => trouble !== null)
  }

  /** SIGKILL to all, also to those that only start. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#starting)
    const running = [...this.#running.values()]
    this.#running.clear()
    await Promise.all(running.map(process => process.kill()))
  }
}

async function troubleOf(name: string, process: RoleProcess): Promise<string | null> {
  if (!isAlive(process.pid)) return `${name} has ended by itself; it said last:\n${process.output().slice(-2_000)}`
  try {
    const { status, text } = await process.get('/readyz')
    return status === 200 ? null : `${name} is not ready: ${text}`
  } catch (thrown) {
    return `${name} does not answer: ${(thrown as Error).message}`
  }
}

/** Waits for all of them before it throws the first failure: what started must be found by whoever ends it. */
async function allSettled(starting: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(starting)
  const failed = outcomes.find(outcome => outcome.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
