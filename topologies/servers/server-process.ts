import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'

export interface ServerProcessOptions {
  /** As a sentence names it, such as `Kafka`. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly cwd?: string
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>
  /** Asked again and again, with what the server printed so far (its last lines). */
  readonly isReady: (output: string) => Promise<boolean>
  readonly readyWithinMs: number
}

const keptLines = 200
const pollEveryMs = 25
const terminateWithinMs = 10_000

/**
 * A real server as a child process, for tests and local development.
 *
 * States: starting → ready → exited. `start` resolves at ready; a server that exits or is late before is ended, and
 * the error says so with the last lines it printed. It runs in a session of its own, so that a Ctrl-C in the terminal
 * reaches its owner alone, and a guard process ends it when its owner is gone without a goodbye.
 *
 * Errors are plain: they end a test run or a command, and nobody tells them apart.
 */
export class ServerProcess {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #lines: string[] = []
  readonly #exited: Promise<void>

  /** @throws Error with one sentence and the last lines printed, when the server cannot be started or is not ready in time */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const child = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    await spawned(child, options)
    const server = new ServerProcess(options.name, child, child.stdout, child.stderr)
    try {
      await server.#untilReady(options)
      return server
    } catch (error) {
      await server.kill()
      throw error
    }
  }

  private constructor(name: string, child: ChildProcess, stdout: Readable, stderr: Readable) {
    this.#name = name
    this.#child = child
    for (const stream of [stdout, stderr]) createInterface(stream).on('line', line => this.#keep(line))
    const guard = startGuard(this.pid)
    child.once('exit', () => guard.kill('SIGKILL'))
    // `close`, not `exit`: by then the last lines have been read.
    this.#exited = new Promise(resolve => child.once('close', () => resolve()))
  }

  get pid(): number {
    return this.#child.pid!
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** null while it runs, and when a signal ended it. */
  get exitCode(): number | null {
    return this.#child.exitCode
  }

  /** The last lines it printed, both streams. */
  output(): string {
    return this.#lines.join('\n')
  }

  /** SIGTERM, and SIGKILL after ten seconds; resolves when the process is gone. */
  async stop(): Promise<void> {
    const late = setTimeout(() => this.#signal('SIGKILL'), terminateWithinMs)
    this.#signal('SIGTERM')
    await this.#exited
    clearTimeout(late)
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#signal('SIGKILL')
    await this.#exited
  }

  /** Only while it runs: the pid of an exited process may belong to another by now. */
  #signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child.kill(signal)
  }

  #keep(line: string): void {
    this.#lines.push(line)
    if (this.#lines.length > keptLines) this.#lines.shift()
  }

  async #untilReady({ isReady, readyWithinMs }: ServerProcessOptions): Promise<void> {
    const deadlineMs = performance.now() + readyWithinMs
    for (;;) {
      if (!this.isRunning) {
        await this.#exited
        throw this.#failure(`exited with ${this.#child.exitCode ?? this.#child.signalCode} before it was ready`)
      }
      if (await isReady(this.output())) return
      if (performance.now() > deadlineMs) throw this.#failure(`was not ready within ${readyWithinMs} ms`)
      await new Promise(resolve => setTimeout(resolve, pollEveryMs))
    }
  }

  #failure(what: string): Error {
    const printed = this.output() === '' ? 'It printed nothing.' : `Its last lines:\n${this.output()}`
    return new Error(`${this.#name} ${what}. ${printed}`)
  }
}

async function spawned(child: ChildProcess, { name, command }: ServerProcessOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'ENOENT' ? `the program ${command} was not found` : error.message
      reject(new Error(`${name} cannot be started: ${why}.`, { cause: error }))
    })
  })
}

/**
 * Waits for the end of its input, which comes when this process is gone, however it went, and kills the server then.
 * Is itself killed as soon as the server exits, so it never holds the pid of another process.
 */
function startGuard(pid: number): ChildProcess {
  return spawn('sh', ['-c', 'read -r _; kill -9 "$1"', 'guard', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
}

/** Whether there is a process with this pid, ours or another user's. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
