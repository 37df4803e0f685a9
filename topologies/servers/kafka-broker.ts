import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { kafkaArtifacts } from './artifact-sets.ts'
import { type Certificate, createCertificate } from './certificate.ts'
import { freePorts } from './free-ports.ts'
import {
  type ClusterSettings,
  type KafkaSasl,
  log4jProperties,
  type NodePorts,
  scramCredential,
  serverProperties,
  startedLine,
} from './kafka-settings.ts'
import { fetchArtifacts } from './maven-artifacts.ts'
import { ServerProcess } from './server-process.ts'

export interface KafkaBrokerOptions {
  /** Three form a cluster: replication factor 3, of which 2 must be in sync. Default 1. */
  readonly nodes?: 1 | 3
  /** `mutual`: clients must show the broker's own certificate, see `clientCertificate`. */
  readonly security?: { readonly tls?: boolean | 'mutual'; readonly sasl?: KafkaSasl }
  /** Port for clients of the first node; default a free one. */
  readonly port?: number
  /** Where the data lies and stays, absolute; default a temporary directory, which `stop` removes. */
  readonly directory?: string
  /**
   * How long a cluster waits for a node that is gone, and so how long a killed node must wait at its next start.
   * Too short for a busy machine, it takes a healthy node for gone. Default 2,000.
   */
  readonly sessionTimeoutMs?: number
  /** Compiles for speed instead of for a quick start, which takes half the work otherwise: for benches. Default false. */
  readonly forLongRuns?: boolean
  /** Further broker settings, such as `log.retention.check.interval.ms`. */
  readonly settings?: Readonly<Record<string, string>>
}

/** Any 16 bytes in base64url; the nodes of a cluster share it. */
const clusterId = 'MkU3OEVBNTcwNTJENDM2Qg'
const readyWithinMs = 120_000
const quickJava = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
const fastJava = ['-XX:+UseSerialGC']

/** Java reads its arguments by the locale; passwords are among them. */
const utf8Arguments = { LC_ALL: 'C.UTF-8' } as const

/** A real Kafka: one node, or a cluster of three, each a process of its own. Needs Java 17 or newer. */
export class KafkaBroker {
  readonly directory: string
  readonly #isTemporary: boolean
  readonly #javaFlags: readonly string[]
  readonly #libraries: string
  readonly #settings: ClusterSettings
  readonly #processes = new Map<number, ServerProcess>()

  /** Resolves when every node takes requests. */
  static async start(options: KafkaBrokerOptions = {}): Promise<KafkaBroker> {
    const libraries = await fetchArtifacts(kafkaArtifacts)
    const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'freshet-kafka-')))
    const broker = new KafkaBroker(options, directory, libraries, {
      ports: await choosePorts(options),
      certificate: options.security?.tls ? await createCertificate() : null,
      isMutual: options.security?.tls === 'mutual',
      sasl: options.security?.sasl ?? null,
      sessionTimeoutMs: options.sessionTimeoutMs ?? 2_000,
      extra: options.settings ?? {},
    })
    try {
      await broker.startAgain()
    } catch (error) {
      await broker.stop()
      throw error
    }
    return broker
  }

  private constructor(options: KafkaBrokerOptions, directory: string, libraries: string, settings: ClusterSettings) {
    this.directory = directory
    this.#isTemporary = options.directory === undefined
    this.#javaFlags = options.forLongRuns ? fastJava : quickJava
    this.#libraries = libraries
    this.#settings = settings
  }

  /** `host:port` of each node, in the order of the node ids. */
  get brokers(): readonly string[] {
    return this.#settings.ports.map(({ client }) => `127.0.0.1:${client}`)
  }

  /** Kafka's `node.id`s, as clients see them: 1, or 1 to 3. */
  get nodeIds(): readonly number[] {
    return this.#settings.ports.map((_, i) => i + 1)
  }

  /** PEM of what clients must trust when there is TLS, else null. */
  get certificateAuthority(): string | null {
    return this.#settings.certificate?.certificate ?? null
  }

  /** PEM of what clients must show when TLS is mutual, else null. */
  get clientCertificate(): Certificate | null {
    return this.#settings.isMutual ? this.#settings.certificate : null
  }

  /** null when the node does not run. */
  pidOf(nodeId: number): number | null {
    const process = this.#processes.get(nodeId)
    return process?.isRunning ? process.pid : null
  }

  /** The last lines each node printed since it was started. */
  output(): string {
    return [...this.#processes].map(([nodeId, process]) => `node ${nodeId}:\n${process.output()}`).join('\n')
  }

  /** SIGKILL to one node, or to all of them. */
  async kill(nodeId?: number): Promise<void> {
    await Promise.all(this.#chosen(nodeId).map(each => this.#processes.get(each)?.kill()))
  }

  /** Starts one node, or all of them, where they do not run; on the same data and ports. Resolves when they are ready. */
  async startAgain(nodeId?: number): Promise<void> {
    const missing = this.#chosen(nodeId).filter(each => this.pidOf(each) === null)
    // All of them first: `stop` must find every node that did start.
    const outcomes = await Promise.allSettled(missing.map(each => this.#startNode(each)))
    const failed = outcomes.find(outcome => outcome.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  /** Ends every node; a temporary directory is gone afterwards, so then there is no need for the good order of SIGTERM. */
  async stop(): Promise<void> {
    await Promise.all([...this.#processes.values()].map(each => (this.#isTemporary ? each.kill() : each.stop())))
    if (this.#isTemporary) await rm(this.directory, { recursive: true, force: true })
  }

  #chosen(nodeId: number | undefined): readonly number[] {
    return nodeId === undefined ? this.nodeIds : [nodeId]
  }

  async #startNode(nodeId: number): Promise<void> {
    const folder = join(this.directory, `node-${nodeId}`)
    const data = join(folder, 'data')
    const properties = join(folder, 'server.properties')
    const logging = join(folder, 'log4j2.properties')
    await mkdir(folder, { recursive: true })
    // Holds a private key and a password.
    await writeFile(properties, serverProperties(nodeId, data, this.#settings), { mode: 0o600 })
    await writeFile(logging, log4jProperties)
    const java = [`-Dlog4j2.configurationFile=${logging}`, '-cp', join(this.#libraries, '*')]
    await this.#format(folder, [...java, 'kafka.tools.StorageTool', 'format', '-t', clusterId, '-c', properties])
    const process = await ServerProcess.start({
      name: `Kafka node ${nodeId}`,
      command: 'java',
      args: ['-Xms128m', '-Xmx512m', ...this.#javaFlags, ...java, 'kafka.Kafka', properties],
      cwd: folder,
      isReady: async output => output.includes(startedLine),
      readyWithinMs,
    })
    this.#processes.set(nodeId, process)
  }

  /** Once in the life of the data. A marker tells, because a format that is cut off leaves files too. */
  async #format(folder: string, command: readonly string[]): Promise<void> {
    const marker = join(folder, 'formatted')
    if (existsSync(marker)) return
    await rm(join(folder, 'data'), { recursive: true, force: true })
    const credential = this.#settings.sasl === null ? null : scramCredential(this.#settings.sasl)
    const users = credential === null ? [] : ['--add-scram', credential]
    const args = ['-Xmx128m', ...quickJava, ...command, ...users]
    await promisify(execFile)('java', args, { env: { ...process.env, ...utf8Arguments } }).catch(
      (error: NodeJS.ErrnoException) => {
        const why = error.code === 'ENOENT' ? 'the program java was not found' : error.message
        throw new Error(`Kafka cannot format its storage: ${why}.`, { cause: error })
      },
    )
    await writeFile(marker, '')
  }
}

async function choosePorts({ nodes = 1, port }: KafkaBrokerOptions): Promise<readonly NodePorts[]> {
  const free = await freePorts(3 * nodes)
  return Array.from({ length: nodes }, (_, i) => {
    const [client, internal, controller] = free.slice(3 * i) as [number, number, number]
    return { client: i === 0 ? (port ?? client) : client, internal, controller }
  })
}
