import { resolve } from 'node:path'
import { registryArtifacts } from './artifact-sets.ts'
import { freePort } from './free-ports.ts'
import { fetchArtifacts } from './maven-artifacts.ts'
import { ServerProcess } from './server-process.ts'

export interface SchemaRegistryServerOptions {
  /** Where schemas are kept over restarts; the caller's to remove. Without, they are lost at every stop. */
  readonly directory?: string
  /** A free one when not given. */
  readonly port?: number
}

const readyWithinMs = 120_000

/** H2 would write what is committed half a second later, and a kill would lose it. */
const durable = 'WRITE_DELAY=0'

/** A real schema registry that speaks Confluent's protocol: Apicurio on 127.0.0.1. */
export class SchemaRegistryServer {
  /** Base address of the protocol. */
  readonly url: string
  readonly #args: readonly string[]
  readonly #folder: string
  #process: ServerProcess | null = null

  /** Resolves when it answers. @throws Error in one sentence */
  static async start({ directory, port }: SchemaRegistryServerOptions = {}): Promise<SchemaRegistryServer> {
    const folder = await fetchArtifacts(registryArtifacts)
    const server = new SchemaRegistryServer({ folder, port: port ?? (await freePort()), directory })
    await server.startAgain()
    return server
  }

  private constructor(options: { folder: string; port: number; directory: string | undefined }) {
    const { folder, port, directory } = options
    this.#folder = folder
    this.url = `http://127.0.0.1:${port}/apis/ccompat/v7`
    this.#args = [
      ...['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'],
      ...['-Dquarkus.http.host=127.0.0.1', `-Dquarkus.http.port=${port}`],
      ...['-Dquarkus.banner.enabled=false', '-Dquarkus.http.access-log.enabled=false'],
      '-Dquarkus.log.category."io.apicurio".level=WARN',
      ...(directory === undefined
        ? []
        : [`-Dapicurio.datasource.url=jdbc:h2:file:${resolve(directory, 'registry')};${durable}`]),
      ...['-jar', `apicurio-registry-app-${registryArtifacts.version}-runner.jar`],
    ]
  }

  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  /** The last lines it printed. */
  output(): string {
    return this.#process?.output() ?? ''
  }

  /** Same address and directory, after `stop` or `kill`. */
  async startAgain(): Promise<void> {
    this.#process = await ServerProcess.start({
      name: 'the schema registry',
      command: 'java',
      args: this.#args,
      cwd: this.#folder,
      isReady: () => this.#answers(),
      readyWithinMs,
    })
  }

  async stop(): Promise<void> {
    await this.#process?.stop()
    this.#process = null
  }

  async kill(): Promise<void> {
    await this.#process?.kill()
    this.#process = null
  }

  #answers(): Promise<boolean> {
    return fetch(`${this.url}/subjects`).then(
      response => response.ok,
      () => false,
    )
  }
}
