import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('../freshet.ts', import.meta.url))

export interface ServerProcessOptions {
  readonly dataDir: string
  /** Further configuration as environment, such as `FRESHET_STUB_MODEL: 'true'`. */
  readonly env?: Readonly<Record<string, string>>
  readonly args?: readonly string[]
  /** Fixed port, so that clients survive a restart; else a free one. */
  readonly port?: number
  readonly readyWithinMs?: number
  /** Script of the `freshet` command; that of this checkout when left out. */
  readonly script?: string
}

/** A real `freshet serve` in a process of its own, for tests and benches. */
export interface ServerProcess {
  readonly url: string
  readonly pid: number
  /** All that it printed, both streams. */
  output(): string
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>
  /** SIGTERM, then waits for the exit. */
  stop(): Promise<number | string>
  /** SIGKILL, then waits for the exit. */
  kill(): Promise<number | string>
}

/** Starts the server and waits for `/readyz`. Rejects with its output when it exits or does not get ready. */
export async function startServerProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const port = options.port ?? (await freePort())
  const url = `http://127.0.0.1:${port}`
  const child = spawn(process.execPath, [options.script ?? entry, 'serve', ...(options.args ?? [])], {
    env: {
      ...process.env,
      ...options.env,
      FRESHET_DATA_DIR: options.dataDir,
      FRESHET_PORT: String(port),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const chunks: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => chunks.push(text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => chunks.push(text))
  const exited = new Promise<number | string>(resolve => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'))
  })
  const end = (signal: NodeJS.Signals): Promise<number | string> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    return exited
  }
  const server: ServerProcess = {
    url,
    pid: child.pid!,
    output: () => chunks.join(''),
    exited,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  }
  await untilReady(server, child, options.readyWithinMs ?? 60_000)
  return server
}

async function untilReady(server: ServerProcess, child: ChildProcess, withinMs: number): Promise<void> {
  const deadline = Date.now() + withinMs
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`the server exited with ${child.exitCode ?? child.signalCode}:\n${server.output()}`)
    const ready = await fetch(`${server.url}/readyz`).then(
      response => response.ok,
      () => false,
    )
    if (ready) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  await server.kill()
  throw new Error(`the server was not ready within ${withinMs} ms:\n${server.output()}`)
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => (typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port'))))
    })
  })
}

/** Pids of a process and all its descendants, from /proc. */
export function processTree(root: number): readonly number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = readOrNull(`/proc/${name}/stat`)
    if (stat !== null) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
  }
  const tree = [root]
  for (const pid of tree) for (const [child, parent] of parents) if (parent === pid) tree.push(child)
  return tree
}

/** Sum of the proportional set sizes of a process tree, bytes. */
export function pssBytes(root: number): number {
  let total = 0
  for (const pid of processTree(root)) {
    const rollup = readOrNull(`/proc/${pid}/smaps_rollup`)
    total += Number(/^Pss:\s+(\d+) kB/m.exec(rollup ?? '')?.[1] ?? 0) * 1024
  }
  return total
}

/** null when the process went away meanwhile. */
function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH', 'EACCES'].includes(String(error.code)))
      return null
    throw error
  }
}
