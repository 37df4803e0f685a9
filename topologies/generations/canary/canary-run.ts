import type { ItemId } from '../../../schemas/ids.ts'
import { evaluate } from './canary-evaluation.ts'
import type { CanaryGate, CanaryOptions, CanaryReport, QuestionSet } from './canary-gate.ts'
import { CanaryInquiry } from './canary-inquiry.ts'
import type { CanaryPorts } from './canary-ports.ts'
import type { PictureItem } from './canary-questions.ts'
import { CanarySide } from './canary-side.ts'
import { type EngagementQuestion, engagementQuestions } from './engagement-set.ts'
import { type LabelledQuestion, type LabelledSet, wantedIds } from './labelled-set.ts'
import type { Measured } from './measure-names.ts'

/** Deleted items, and those without a picture, are among what is drawn. */
const drawnPerItem = 2
/** Engagement records read for each question wanted: most queries have no two items chosen. */
const recordsPerEngagement = 50

/** The gate over its ports. DESIGN section 9, step 4. */
export class CanaryRun implements CanaryGate {
  readonly #ports: CanaryPorts

  constructor(ports: CanaryPorts) {
    this.#ports = ports
  }

  async run(options: CanaryOptions): Promise<CanaryReport> {
    const { candidate, reference, signal } = options
    const { clock, seed } = this.#ports
    const startedAtMs = clock()
    const { name, digest, bounds, sample } = this.#ports.bounds()
    const sides = {
      candidate: new CanarySide(candidate, this.#ports, signal),
      reference: new CanarySide(reference, this.#ports, signal),
    }
    const items = await this.#items(sides.reference, sample.vectors, signal)
    const labelled = await this.#labelled(sides.reference, sample.labelled)
    const engaged = await this.#engaged(sides.reference, sample.engagements, signal)
    const questions = {
      items,
      pictures: items.slice(0, sample.pictures),
      labelled: labelled.questions,
      labelledSet: labelled.set,
      engaged: engaged.questions,
    }
    const { measured, misses, replicas } = await new CanaryInquiry(this.#ports, sides, questions, options).ask()
    const verdict = evaluate(measured, bounds, { hasLabelledSet: labelled.set?.isConfigured ?? false })
    return {
      passed: verdict.passed,
      reasons: withFailure(verdict.reasons, sides.candidate, measured),
      candidate,
      reference,
      startedAtMs,
      tookMs: clock() - startedAtMs,
      seed,
      bounds: { name, digest },
      measures: verdict.measures,
      replicas,
      questions: [itemSet(items, sample.pictures), labelledNote(labelled), engagementNote(engaged)],
      misses,
    }
  }

  /** Items that the reference finds, by a picture that is theirs now. */
  async #items(reference: CanarySide, count: number, signal: AbortSignal): Promise<readonly PictureItem[]> {
    const items: PictureItem[] = []
    for (const itemId of await this.#ports.itemIds(count * drawnPerItem, this.#ports.seed, signal)) {
      if (items.length >= count) break
      const registers = await reference.registers(itemId)
      const snapshot = registers?.snapshot ?? null
      const digest = snapshot?.imageDigests[0]
      if (!registers?.searchable || snapshot === null || snapshot.stale || digest === undefined) continue
      items.push({ itemId, snapshot, digest })
    }
    return items
  }

  /** Questions whose right answer the reference can give. A set that came along, and asks mostly for others, is left. */
  async #labelled(reference: CanarySide, limit: number): Promise<LabelledDraw> {
    const set = await this.#ports.labelledSet()
    if (set === null) return { set, questions: [], skipped: 0 }
    const known = new KnownItems(reference)
    const spread = spreadOver(set.questions, limit)
    const questions: LabelledQuestion[] = []
    for (const question of spread) {
      const wanted = [...wantedIds(question)]
      if (question.categories.length > 0 || (await known.hasAny(wanted))) questions.push(question)
    }
    const skipped = spread.length - questions.length
    if (!set.isConfigured && skipped > questions.length) return { set, questions: [], skipped: spread.length }
    return { set, questions, skipped }
  }

  async #engaged(reference: CanarySide, limit: number, signal: AbortSignal): Promise<EngagementDraw> {
    const records = await this.#ports.engagements(limit * recordsPerEngagement, signal)
    const known = new KnownItems(reference)
    const all = engagementQuestions(records, limit)
    const questions: EngagementQuestion[] = []
    for (const question of all)
      if ((await known.hasAny([question.itemId])) && (await known.hasAny([...question.expected])))
        questions.push(question)
    return { questions, skipped: all.length - questions.length }
  }
}

interface LabelledDraw {
  readonly set: LabelledSet | null
  readonly questions: readonly LabelledQuestion[]
  readonly skipped: number
}

interface EngagementDraw {
  readonly questions: readonly EngagementQuestion[]
  readonly skipped: number
}

/** Which items can be found on the reference; each is asked for once. */
class KnownItems {
  readonly #reference: CanarySide
  readonly #known = new Map<string, Promise<boolean>>()

  constructor(reference: CanarySide) {
    this.#reference = reference
  }

  async hasAny(itemIds: readonly string[]): Promise<boolean> {
    for (const itemId of itemIds) {
      const known = this.#known.get(itemId) ?? this.#ask(itemId as ItemId)
      this.#known.set(itemId, known)
      if (await known) return true
    }
    return false
  }

  async #ask(itemId: ItemId): Promise<boolean> {
    return (await this.#reference.registers(itemId))?.searchable ?? false
  }
}

/** At most so many, from all over the list. */
function spreadOver<T>(list: readonly T[], limit: number): readonly T[] {
  if (list.length <= limit) return list
  return Array.from({ length: limit }, (_, i) => list[Math.floor((i * list.length) / limit)]!)
}

/** What the first error said, where errors are a reason. */
function withFailure(reasons: readonly string[], side: CanarySide, measured: Measured): readonly string[] {
  const { firstFailure } = side
  if (firstFailure === null || measured['answers.failedShare']?.candidate === 0) return reasons
  const said = `${firstFailure.code}: ${firstFailure.message}`
  return reasons.map(reason => (reason.startsWith('answers.failedShare') ? `${reason} (first: ${said})` : reason))
}

function itemSet(items: readonly PictureItem[], pictures: number): QuestionSet {
  return {
    name: 'items',
    asked: items.length,
    skipped: 0,
    note: `items drawn from the catalogue; the first ${Math.min(items.length, pictures)} are asked for by their pictures`,
  }
}

function labelledNote({ set, questions, skipped }: LabelledDraw): QuestionSet {
  const note =
    set === null ? 'there is none for this catalogue' : `${set.name}, ${set.questions.length} questions, ${set.digest}`
  return { name: 'labelled', asked: questions.length, skipped, note }
}

function engagementNote({ questions, skipped }: EngagementDraw): QuestionSet {
  const note =
    'items chosen for one query: pictures of queries are not kept, so the search is by an item; what was chosen was ' +
    'shown by the generation that served then, which favours it'
  return { name: 'engagement', asked: questions.length, skipped, note }
}
