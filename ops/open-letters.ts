import type { DeadLetter } from '../schemas/dead-letter.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Generation } from '../schemas/ids.ts'
import type { ControlState } from '../topologies/control/control-state.ts'
import type { DeadLetters } from '../topologies/dead-letters.ts'

/** Counted at most: beyond that an operator needs no exact figure. */
const countedAtMost = 1_000
const keptMs = 2_000

/** How many dead letters are open, whichever process wrote them; read from the topic anew every two seconds at most. */
export class OpenLetters {
  readonly #letters: Pick<DeadLetters, 'list'>
  readonly #clock: () => number
  #count: Promise<number> = Promise.resolve(0)
  #countedAtMs = Number.NEGATIVE_INFINITY

  constructor(letters: Pick<DeadLetters, 'list'>, clock: () => number) {
    this.#letters = letters
    this.#clock = clock
  }

  /** @throws FreshetError storage codes */
  count(): Promise<number> {
    if (this.#clock() - this.#countedAtMs >= keptMs) {
      this.#countedAtMs = this.#clock()
      this.#count = this.#letters.list({ limit: countedAtMost }).then(({ letters }) => letters.length)
    }
    return this.#count
  }
}

/** @throws FreshetError `bad-request` for work that no generation wants any more */
export function requireWanted({ job, generation }: DeadLetter, { generations }: ControlState): void {
  const wantedBy = job?.generation ?? (generation as Generation)
  if (generations.get(wantedBy)?.state === 'retired')
    throw new FreshetError('bad-request', `generation ${wantedBy} of the letter is retired: drop the letter`)
}
