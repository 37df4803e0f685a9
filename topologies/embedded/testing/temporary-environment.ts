import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedEnvironment, type EnvironmentOptions } from '../environment.ts'

/** A real environment in a temporary directory, with a clock moved by hand. */
export class TemporaryEnvironment {
  now = 1_700_000_000_000
  readonly directory: string
  readonly #options: Partial<EnvironmentOptions>
  #environment: EmbeddedEnvironment | null = null

  static async create(options: Partial<EnvironmentOptions> = {}): Promise<TemporaryEnvironment> {
    return new TemporaryEnvironment(await mkdtemp(join(tmpdir(), 'freshet-embedded-')), options)
  }

  private constructor(directory: string, options: Partial<EnvironmentOptions>) {
    this.directory = directory
    this.#options = options
  }

  /** Opens it; when open, closes it before, as a restart does. */
  async open(): Promise<EmbeddedEnvironment> {
    await this.#environment?.close()
    const clock = () => this.now
    const options = { directory: join(this.directory, 'log'), clock, minFreeBytes: 0, ...this.#options }
    this.#environment = await EmbeddedEnvironment.open(options)
    return this.#environment
  }

  async dispose(): Promise<void> {
    await this.#environment?.close()
    await rm(this.directory, { recursive: true })
  }
}
