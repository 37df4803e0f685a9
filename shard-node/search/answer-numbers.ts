import type { IndexAnswer, IndexHit, IndexPlan, SegmentPlan } from '../vector-index.ts'

/** Written as their places in these lists. */
const planKinds = ['graph', 'scan', 'exact'] as const satisfies readonly IndexPlan['kind'][]
const segmentKinds = ['graph', 'codes', 'vectors'] as const satisfies readonly SegmentPlan['by'][]

/**
 * Answers as one array of numbers, one after another: of each the number of its hits and of its segments, `complete`
 * (0 or 1), the plan's kind, selectivity and effort; per segment rows, kind and scored; per hit item, object and
 * score. As nested objects they take a search thread a sixth of its time to post, and the owner longer to read.
 */
export function numbersOf(answers: readonly IndexAnswer[]): Float64Array {
  const length = answers.reduce((sum, { hits, plan }) => sum + headLength + 3 * (hits.length + plan.segments.length), 0)
  const numbers = new Float64Array(length)
  let at = 0
  const add = (value: number): void => {
    numbers[at++] = value
  }
  for (const { hits, complete, plan } of answers) {
    add(hits.length)
    add(plan.segments.length)
    add(complete ? 1 : 0)
    add(planKinds.indexOf(plan.kind))
    add(plan.selectivity)
    add(plan.effort)
    for (const { rows, by, scored } of plan.segments) {
      add(rows)
      add(segmentKinds.indexOf(by))
      add(scored)
    }
    for (const { item, object, score } of hits) {
      add(item)
      add(object)
      add(score)
    }
  }
  return numbers
}

const headLength = 6

export function answersFrom(numbers: Float64Array): readonly IndexAnswer[] {
  const answers: IndexAnswer[] = []
  let at = 0
  const next = (): number => numbers[at++]!
  while (at < numbers.length) {
    const [hitCount, segmentCount, complete] = [next(), next(), next() === 1]
    const [kind, selectivity, effort] = [planKinds[next()]!, next(), next()]
    const segments: SegmentPlan[] = []
    while (segments.length < segmentCount) {
      segments.push({ rows: next(), by: segmentKinds[next()]!, scored: next() })
    }
    const hits: IndexHit[] = []
    while (hits.length < hitCount) hits.push({ item: next(), object: next(), score: next() })
    answers.push({ hits, complete, plan: { kind, selectivity, effort, segments } })
  }
  return answers
}
