import type { CanaryMiss, CanaryProgress } from './canary-gate.ts'
import type { CanarySide } from './canary-side.ts'

/** One of each generation. */
export interface Both<T> {
  readonly candidate: T
  readonly reference: T
}

export function eachOf<T, R>({ candidate, reference }: Both<T>, of: (side: T) => R): Both<R> {
  return { candidate: of(candidate), reference: of(reference) }
}

interface AskOptions<Question, Answer> {
  /** Questions in the air. */
  readonly atOnce: number
  /** Asked after the answers: false when what the question is about has changed, so that the answers say nothing. */
  readonly stands?: (question: Question) => Promise<boolean>
  /** What to tell of a question that the candidate answered worse; null: nothing. */
  readonly worse?: (answers: Both<Answer>, question: Question) => CanaryMiss | null
}

export interface Answered<Question, Answer> extends Both<Answer> {
  readonly question: Question
}

const mostMisses = 50

/** Puts the same questions to both generations, and tells how far it is. */
export class BothSides {
  readonly sides: Both<CanarySide>
  readonly misses: CanaryMiss[] = []
  readonly #total: number
  readonly #onProgress: (progress: CanaryProgress) => void
  #done = 0

  constructor(sides: Both<CanarySide>, total: number, onProgress: (progress: CanaryProgress) => void) {
    this.sides = sides
    this.#total = total
    this.#onProgress = onProgress
  }

  /** Answers with their questions, of those that stand. In turn one side and the other is first: it finds the colder caches. */
  async each<Question, Answer>(
    what: string,
    questions: readonly Question[],
    ask: (side: CanarySide, question: Question) => Promise<Answer>,
    { atOnce, stands, worse }: AskOptions<Question, Answer> = { atOnce: 2 },
  ): Promise<readonly Answered<Question, Answer>[]> {
    const answers: Answered<Question, Answer>[] = []
    let next = 0
    const askOn = async (): Promise<void> => {
      for (let at = next++; at < questions.length; at = next++) {
        const question = questions[at]!
        const answer = await this.#askBoth(side => ask(side, question), at % 2 === 0)
        this.#onProgress({ done: ++this.#done, total: this.#total, what })
        if (stands !== undefined && !(await stands(question))) continue
        answers.push({ question, ...answer })
        const miss = worse?.(answer, question) ?? null
        if (miss !== null && this.misses.length < mostMisses) this.misses.push(miss)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, askOn))
    return answers
  }

  async #askBoth<Answer>(ask: (side: CanarySide) => Promise<Answer>, isCandidateFirst: boolean): Promise<Both<Answer>> {
    const { candidate, reference } = this.sides
    if (isCandidateFirst) return { candidate: await ask(candidate), reference: await ask(reference) }
    const ofReference = await ask(reference)
    return { candidate: await ask(candidate), reference: ofReference }
  }
}
