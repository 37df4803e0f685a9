import { fileURLToPath } from 'node:url'
import { ServerProcess } from '../../topologies/servers/server-process.ts'
import type { RoleName } from '../roles/role.ts'

const entry = fileURLToPath(new URL('../freshet.ts', import.meta.url))

export interface RoleProcessOptions {
  /** Configuration as environment, such as `FRESHET_STUB_MODEL: 'true'`. */
  readonly env: Readonly<Record<string, string>>
  readonly args?: readonly string[]
  readonly readyWithinMs?: number
}

/** A real `freshet dispatch`, `work`, `shard` or `gateway` in a process of its own, for tests and benches. */
export class RoleProcess {
  readonly role: RoleName
  readonly url: string
  readonly #process: ServerProcess

  /** Resolves when `/readyz` says so. @throws Error with what it printed when it exits before, or is late */
  static async start(role: RoleName, options: RoleProcessOptions): Promise<RoleProcess> {
    const { env, args = [], readyWithinMs = 60_000 } = options
    const started = await ServerProcess.start({
      name: `freshet ${role}`,
      command: process.execPath,
      args: [entry, role, '--json', ...args],
      env,
      isReady,
      readyWithinMs,
    })
    return new RoleProcess(role, started)
  }

  private constructor(role: RoleName, started: ServerProcess) {
    this.role = role
    this.#process = started
    this.url = announcedUrl(started.output())!
  }

  get pid(): number {
    return this.#process.pid
  }

  /** Its last lines, both streams. */
  output(): string {
    return this.#process.output()
  }

  async get(path: string): Promise<{ readonly status: number; readonly text: string }> {
    const response = await fetch(`${this.url}${path}`)
    return { status: response.status, text: await response.text() }
  }

  /** SIGTERM; resolves with the exit code, null when it had to be killed. */
  async stop(): Promise<number | null> {
    await this.#process.stop()
    return this.#process.exitCode
  }

  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void> {
    return this.#process.kill()
  }
}

async function isReady(output: string): Promise<boolean> {
  const url = announcedUrl(output)
  if (url === undefined) return false
  return fetch(`${url}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  )
}

/** From the line that tells programs where it listens. */
function announcedUrl(output: string): string | undefined {
  const line = output.split('\n').find(each => each.startsWith('{"role":') && each.includes('"url":'))
  return line === undefined ? undefined : (JSON.parse(line) as { readonly url: string }).url
}
