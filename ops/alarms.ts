import type { Logger } from 'pino'
import type { ErrorCode, FreshetError } from '../schemas/errors.ts'

export interface Alarm {
  readonly code: ErrorCode
  readonly message: string
  readonly sinceMs: number
}

const maxAlarms = 50

/** What an operator must know though the server goes on: logged, and kept for the status until the next start. */
export class Alarms {
  readonly #log: Logger
  readonly #clock: () => number
  readonly #alarms: Alarm[] = []

  constructor(log: Logger, clock: () => number) {
    this.#log = log
    this.#clock = clock
  }

  raise(role: string, error: FreshetError): void {
    this.#log.error({ role, code: error.code, err: error }, 'alarm')
    this.#alarms.unshift({ code: error.code, message: `${role}: ${error.message}`, sinceMs: this.#clock() })
    this.#alarms.length = Math.min(this.#alarms.length, maxAlarms)
  }

  /** Newest first. */
  list(): readonly Alarm[] {
    return this.#alarms
  }
}
