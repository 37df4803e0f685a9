import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCertificate } from './certificate.ts'
import { freePort } from './free-ports.ts'
import { ServerProcess } from './server-process.ts'

export interface RedisServerOptions {
  /** Where the data lies and stays, absolute; default a temporary directory, which `stop` removes. */
  readonly directory?: string
  /** Default a free one. */
  readonly port?: number
  /** Asked of every client; default none. */
  readonly password?: string
  /** With a certificate made for this server; plain connections are refused then. Default false. */
  readonly tls?: boolean
  /**
   * When the append-only file is synced. `everysec` may lose the last two seconds of acknowledged writes even when only
   * the process dies: while a sync is slow, Redis keeps them to itself. Default `everysec`, as it is run everywhere.
   */
  readonly appendSync?: 'everysec' | 'always'
  /** Writes that would need more are refused. Default 512 MiB. */
  readonly maxMemoryBytes?: number
  /** Port on 127.0.0.1 of the server this one copies, taking no writes itself. Default none. */
  readonly replicaOfPort?: number
}

const settingsFile = 'redis.conf'
const readyLine = 'Ready to accept connections'
const readyWithinMs = 30_000

/**
 * A real Redis that keeps what it holds: every write goes to the append-only file, and nothing is evicted. Needs the
 * program `redis-server`.
 */
export class RedisServer {
  readonly port: number
  readonly #options: RedisServerOptions
  readonly #directory: string
  readonly #certificateAuthority: string | null
  #process: ServerProcess | null = null

  /** Resolves when it takes requests. */
  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'freshet-redis-')))
    await mkdir(directory, { recursive: true })
    const port = options.port ?? (await freePort())
    const certificateAuthority = options.tls ? await writeCertificate(directory) : null
    // Holds the password.
    await writeFile(join(directory, settingsFile), settingsOf(options, directory, port), { mode: 0o600 })
    const server = new RedisServer(options, { directory, port, certificateAuthority })
    try {
      await server.startAgain()
    } catch (error) {
      await server.stop()
      throw error
    }
    return server
  }

  private constructor(
    options: RedisServerOptions,
    made: { readonly directory: string; readonly port: number; readonly certificateAuthority: string | null },
  ) {
    this.#options = options
    this.#directory = made.directory
    this.port = made.port
    this.#certificateAuthority = made.certificateAuthority
  }

  /** With the password, such as `redis://:secret@127.0.0.1:15123`; `rediss:` when there is TLS. */
  get url(): string {
    const { password, tls } = this.#options
    const user = password === undefined ? '' : `:${encodeURIComponent(password)}@`
    return `${tls ? 'rediss' : 'redis'}://${user}127.0.0.1:${this.port}`
  }

  /** PEM of what clients must trust when there is TLS, else null. */
  get certificateAuthority(): string | null {
    return this.#certificateAuthority
  }

  /** null when it does not run. */
  get pid(): number | null {
    return this.#process?.isRunning ? this.#process.pid : null
  }

  /** The last lines it printed since it was started. */
  output(): string {
    return this.#process?.output() ?? ''
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.#process?.kill()
  }

  /** Where it does not run: starts it on the same data and port. Resolves when its data is loaded. */
  async startAgain(): Promise<void> {
    if (this.pid !== null) return
    this.#process = await ServerProcess.start({
      name: 'Redis',
      command: 'redis-server',
      args: [join(this.#directory, settingsFile)],
      cwd: this.#directory,
      isReady: async output => output.includes(readyLine),
      readyWithinMs,
    })
  }

  /** Ends it; a temporary directory is gone afterwards. */
  async stop(): Promise<void> {
    await this.#process?.stop()
    if (this.#options.directory === undefined) await rm(this.#directory, { recursive: true, force: true })
  }
}

/** Returns the authority that clients must trust. */
async function writeCertificate(directory: string): Promise<string> {
  const { certificate, privateKey } = await createCertificate()
  await writeFile(join(directory, 'certificate.pem'), certificate)
  await writeFile(join(directory, 'key.pem'), privateKey, { mode: 0o600 })
  return certificate
}

function settingsOf(options: RedisServerOptions, directory: string, port: number): string {
  const { password, tls, appendSync = 'everysec', maxMemoryBytes = 512 * 2 ** 20, replicaOfPort } = options
  const file = (name: string) => JSON.stringify(join(directory, name))
  const ports = tls
    ? [
        'port 0',
        `tls-port ${port}`,
        `tls-cert-file ${file('certificate.pem')}`,
        `tls-key-file ${file('key.pem')}`,
        `tls-ca-cert-file ${file('certificate.pem')}`,
        'tls-auth-clients no',
      ]
    : [`port ${port}`]
  return [
    ...ports,
    'bind 127.0.0.1',
    'daemonize no',
    `dir ${JSON.stringify(directory)}`,
    'save ""',
    'appendonly yes',
    `appendfsync ${appendSync}`,
    `maxmemory ${maxMemoryBytes}`,
    'maxmemory-policy noeviction',
    'loglevel notice',
    ...(password === undefined ? [] : [`requirepass ${JSON.stringify(password)}`]),
    ...(replicaOfPort === undefined ? [] : [`replicaof 127.0.0.1 ${replicaOfPort}`]),
    '',
  ].join('\n')
}
