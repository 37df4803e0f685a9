import type { IndexAnswer, IndexHit, IndexPlan, SegmentPlan } from '../vector-index.ts'

/** Written as their places in these lists. */
const planKinds = ['graph', 'scan', 'exact'] as const satisfies readonly IndexPlan['kind'][]
const segmentKinds = ['graph', 'codes', 'vectors'] as const satisfies readonly SegmentPlan['by'][]

const headLength = 6
const partLength = 3

/** Numbers of an answer. */
export function lengthOf({ hits, plan }: IndexAnswer): number {
  return headLength + partLength * (hits.length + plan.segments.length)
}

/** Numbers of an answer with so many hits of so many segments. */
export function lengthFor(hits: number, segments: number): number {
  return headLength + partLength * (hits + segments)
}

/**
 * Answers as one array of numbers, one after another. As nested objects they take a search thread a sixth of its time
 * to post, and the owner longer to read.
 */
export function numbersOf(answers: readonly IndexAnswer[]): Float64Array {
  const numbers = new Float64Array(answers.reduce((length, answer) => length + lengthOf(answer), 0))
  let at = 0
  for (const answer of answers) at = writeAnswer(answer, numbers, at)
  return numbers
}

export function answersFrom(numbers: Float64Array): readonly IndexAnswer[] {
  const answers: IndexAnswer[] = []
  for (let at = 0; at < numbers.length; at += lengthOf(answers.at(-1)!)) answers.push(readAnswer(numbers, at))
  return answers
}

/**
 * Writes the number of hits and of segments, `complete` (0 or 1), the plan's kind, selectivity and effort; per segment
 * rows, kind and scored; per hit item, object and score. There is room for `lengthOf` of it; returns where it ends.
 */
export function writeAnswer({ hits, complete, plan }: IndexAnswer, numbers: Float64Array, from: number): number {
  numbers[from] = hits.length
  numbers[from + 1] = plan.segments.length
  numbers[from + 2] = complete ? 1 : 0
  numbers[from + 3] = planKinds.indexOf(plan.kind)
  numbers[from + 4] = plan.selectivity
  numbers[from + 5] = plan.effort
  let at = from + headLength
  for (const { rows, by, scored } of plan.segments) {
    numbers[at] = rows
    numbers[at + 1] = segmentKinds.indexOf(by)
    numbers[at + 2] = scored
    at += partLength
  }
  for (const { item, object, score } of hits) {
    numbers[at] = item
    numbers[at + 1] = object
    numbers[at + 2] = score
    at += partLength
  }
  return at
}

/** What `writeAnswer` wrote from there on. */
export function readAnswer(numbers: Float64Array, from: number): IndexAnswer {
  const hits = new Array<IndexHit>(numbers[from]!)
  const segments = new Array<SegmentPlan>(numbers[from + 1]!)
  const complete = numbers[from + 2] === 1
  const kind = planKinds[numbers[from + 3]!]!
  let at = from + headLength
  for (let i = 0; i < segments.length; i++, at += partLength)
    segments[i] = { rows: numbers[at]!, by: segmentKinds[numbers[at + 1]!]!, scored: numbers[at + 2]! }
  for (let i = 0; i < hits.length; i++, at += partLength)
    hits[i] = { item: numbers[at]!, object: numbers[at + 1]!, score: numbers[at + 2]! }
  return { hits, complete, plan: { kind, selectivity: numbers[from + 4]!, effort: numbers[from + 5]!, segments } }
}
