/** Items found for each query, best first. */
export type Answers = readonly Uint32Array[]

/** Share of the true neighbours that were found: over all queries, of as many as exist. 1 when none exist. */
export function recallOf(answers: Answers, truth: Answers): number {
  let found = 0
  let wanted = 0
  truth.forEach((neighbours, query) => {
    const answer = new Set(answers[query])
    wanted += neighbours.length
    for (const neighbour of neighbours) if (answer.has(neighbour)) found++
  })
  return wanted === 0 ? 1 : found / wanted
}

export interface Calibration {
  readonly effort: number
  readonly recall: number
}

const leastEffort = 10
const mostEffort = 2_000

/**
 * The smallest effort at which the recall is reached, by bisection: recall grows with effort but for single answers.
 * When even the largest does not reach it, that one, with its recall.
 */
export async function smallestEffort(
  recallAt: (effort: number) => number | Promise<number>,
  floor: number,
): Promise<Calibration> {
  let tooLow = leastEffort - 1
  let enough: Calibration | null = null
  for (let effort = 40; ; ) {
    const recall = await recallAt(effort)
    if (recall >= floor) enough = { effort, recall }
    else tooLow = effort
    if (enough !== null && enough.effort - tooLow <= 1) return enough
    if (enough === null && effort === mostEffort) return { effort, recall }
    effort = enough === null ? Math.min(mostEffort, effort * 2) : Math.floor((tooLow + enough.effort) / 2)
  }
}
