import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Kafka } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import { asLogFailure } from './kafka-failures.ts'

const retryAfterMs = 200

/**
 * The one connection for questions and settings. After a failure the next call gets a new one: kafkajs asks for the
 * metadata of every topic it ever heard of, and a single one that was deleted fails them all.
 */
export class AdminAccess {
  readonly #kafka: Kafka
  readonly #patienceMs: number
  readonly #closing = new AbortController()
  readonly #leaving = new Set<Promise<void>>()
  #admin: Promise<Admin> | null = null

  constructor(kafka: Kafka, patienceMs: number) {
    this.#kafka = kafka
    this.#patienceMs = patienceMs
  }

  /** Waits out what passes: elections, coordinators that load, brokers that start. @throws FreshetError */
  async use<T>(doing: string, task: (admin: Admin) => Promise<T>): Promise<T> {
    const deadlineMs = performance.now() + this.#patienceMs
    for (;;) {
      if (this.#closing.signal.aborted) throw new FreshetError('log-unavailable', `${doing}: the log is closed`)
      const outcome = await this.#try(doing, task)
      if ('result' in outcome) return outcome.result
      const { failure } = outcome
      if (!failure.retryable || performance.now() >= deadlineMs) throw failure
      await sleep(retryAfterMs, undefined, { signal: this.#closing.signal }).catch(() => undefined)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#leave()
    await Promise.all(this.#leaving)
  }

  async #try<T>(
    doing: string,
    task: (admin: Admin) => Promise<T>,
  ): Promise<{ readonly result: T } | { readonly failure: FreshetError }> {
    this.#admin ??= this.#connect()
    const used = this.#admin
    try {
      return { result: await task(await used) }
    } catch (thrown) {
      if (this.#admin === used) this.#leave()
      return { failure: asLogFailure(thrown, doing) }
    }
  }

  async #connect(): Promise<Admin> {
    const admin = this.#kafka.admin()
    try {
      await admin.connect()
      return admin
    } catch (thrown) {
      this.#disconnect(admin)
      throw thrown
    }
  }

  #leave(): void {
    const admin = this.#admin
    this.#admin = null
    void admin?.then(
      connected => this.#disconnect(connected),
      () => undefined,
    )
  }

  #disconnect(admin: Admin): void {
    const leaving = admin.disconnect().catch(() => undefined)
    this.#leaving.add(leaving)
    void leaving.then(() => this.#leaving.delete(leaving))
  }
}
