import type { FreshetError } from '../schemas/errors.ts'
import type { Alarms } from './alarms.ts'

/** Remembers the first failure that a part of this process does not survive. */
export class FailureNote {
  readonly #alarms: Alarms
  #first: FreshetError | null = null

  constructor(alarms: Alarms) {
    this.#alarms = alarms
  }

  /** Null while all goes well. */
  get first(): FreshetError | null {
    return this.#first
  }

  readonly by =
    (part: string) =>
    (error: FreshetError): void => {
      this.#first ??= error
      this.#alarms.raise(part, error)
    }
}
