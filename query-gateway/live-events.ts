import type { ServerResponse } from 'node:http'
import { FreshetError } from '../schemas/errors.ts'

/** A client that lets this much pile up is dropped; it connects again by itself. */
const maxPendingBytes = 512 * 1024
const intervalMs = 1_000

/**
 * Server-Sent Events: one `status` event a second to each client, built once for all. Works only while someone
 * listens. A client is refused beyond the bound and dropped when it does not read.
 */
export class LiveEvents {
  readonly #clients = new Set<ServerResponse>()
  readonly #maxClients: number
  readonly #snapshot: () => Promise<object>
  readonly #failed: (thrown: unknown) => void
  #timer: NodeJS.Timeout | null = null
  #building = false

  constructor(options: {
    readonly maxClients: number
    readonly snapshot: () => Promise<object>
    /** Told when a snapshot failed; the streams are ended then, and their clients connect again. */
    readonly failed: (thrown: unknown) => void
  }) {
    this.#maxClients = options.maxClients
    this.#snapshot = options.snapshot
    this.#failed = options.failed
  }

  /** @throws FreshetError `overloaded` */
  admit(): void {
    if (this.#clients.size >= this.#maxClients)
      throw new FreshetError('overloaded', `${this.#maxClients} event streams are open`)
  }

  /** The response's head is written; from here it belongs to this object until it closes. */
  add(response: ServerResponse): void {
    this.#clients.add(response)
    response.on('close', () => this.#drop(response))
    response.on('error', () => this.#drop(response))
    this.#timer ??= setInterval(() => void this.#tick(), intervalMs)
    void this.#tick()
  }

  close(): void {
    for (const response of this.#clients) response.end()
    this.#clients.clear()
    this.#stopWhenIdle()
  }

  /** A tick that is due while the last one is still being built is skipped. */
  async #tick(): Promise<void> {
    if (this.#building) return
    this.#building = true
    try {
      const event = `event: status\ndata: ${JSON.stringify(await this.#snapshot())}\n\n`
      for (const response of this.#clients) this.#send(response, event)
    } catch (thrown) {
      this.#failed(thrown)
      this.close()
    } finally {
      this.#building = false
    }
  }

  #send(response: ServerResponse, event: string): void {
    if (response.writableLength > maxPendingBytes) response.destroy()
    else response.write(event)
  }

  #drop(response: ServerResponse): void {
    this.#clients.delete(response)
    this.#stopWhenIdle()
  }

  #stopWhenIdle(): void {
    if (this.#clients.size > 0 || this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
  }
}
