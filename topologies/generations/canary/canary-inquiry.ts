import type { ItemId } from '../../../schemas/ids.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import { type Both, BothSides, eachOf } from './both-sides.ts'
import type { CanaryMiss, CanaryOptions, ProbedReplica } from './canary-gate.ts'
import {
  cropMeasures,
  foundMeasures,
  labelledMeasures,
  latencyMeasures,
  meanMeasure,
  neighbourMeasures,
} from './canary-measures.ts'
import type { CanaryPorts } from './canary-ports.ts'
import { askEngagement, askLabelled, askLike, askPicture, type PictureItem } from './canary-questions.ts'
import type { CanarySide } from './canary-side.ts'
import type { EngagementQuestion } from './engagement-set.ts'
import type { LabelledQuestion, LabelledSet } from './labelled-set.ts'
import type { Measured } from './measure-names.ts'
import { type ProbeVector, probeReplica } from './replica-probe.ts'
import { type SampledVector, vectorStatistics } from './vector-statistics.ts'

export interface Questions {
  /** Of their vectors. */
  readonly items: readonly PictureItem[]
  /** By their pictures. */
  readonly pictures: readonly PictureItem[]
  readonly labelled: readonly LabelledQuestion[]
  readonly labelledSet: LabelledSet | null
  readonly engaged: readonly EngagementQuestion[]
}

export interface InquiryResult {
  readonly measured: Measured
  readonly misses: readonly CanaryMiss[]
  readonly replicas: readonly ProbedReplica[]
}

/** What is timed is alone. */
const oneAtATime = 1
const atOnce = 2
/** Exact scans are dear on a large shard. */
const probesPerReplica = 40
const engagementK = 24
const mostReplicas = 200

/** One round of questions to both generations, and what comes of the answers. */
export class CanaryInquiry {
  readonly #ports: CanaryPorts
  readonly #both: BothSides
  readonly #questions: Questions
  readonly #signal: AbortSignal
  readonly #replicas: ProbedReplica[] = []

  constructor(ports: CanaryPorts, sides: Both<CanarySide>, questions: Questions, options: CanaryOptions) {
    const { items, pictures, labelled, engaged } = questions
    const total = items.length + 3 * pictures.length + labelled.length + engaged.length
    this.#ports = ports
    this.#both = new BothSides(sides, total, options.onProgress)
    this.#questions = questions
    this.#signal = options.signal
  }

  /** @throws the signal's reason; FreshetError `config-invalid` when a labelled picture cannot be read */
  async ask(): Promise<InquiryResult> {
    const measured: Measured = {
      ...(await this.#vectors()),
      ...(await this.#wholePictures()),
      ...(await this.#innerParts()),
      ...(await this.#neighbours()),
      ...(await this.#labelled()),
      ...(await this.#engaged()),
      ...(await this.#standings()),
      ...answerMeasures(this.#both.sides),
    }
    return { measured, misses: this.#both.misses, replicas: this.#replicas.slice(0, mostReplicas) }
  }

  async #vectors(): Promise<Measured> {
    const stored = await this.#both.each('vectors', this.#questions.items, async (side, { itemId, digest }) => {
      const vector = await side.vector(itemId)
      return vector === null ? [] : [{ itemId, vector, imageDigest: digest }]
    })
    const { candidate, reference } = this.#both.sides
    const statistics = {
      candidate: await this.#statistics(
        candidate,
        stored.flatMap(pair => pair.candidate),
      ),
      reference: await this.#statistics(
        reference,
        stored.flatMap(pair => pair.reference),
      ),
    }
    return {
      'vectors.wrongDims': eachOf(statistics, ({ count, wrongDims }) => (count === 0 ? null : wrongDims)),
      'vectors.normMin': eachOf(statistics, ({ normMin }) => normMin),
      'vectors.normMax': eachOf(statistics, ({ normMax }) => normMax),
      'vectors.normMean': eachOf(statistics, ({ normMean }) => normMean),
      'vectors.meanCosine': eachOf(statistics, ({ meanCosine }) => meanCosine),
      'vectors.duplicateShare': eachOf(statistics, ({ duplicateShare }) => duplicateShare),
      'index.selfFirst': eachOf(statistics, ({ selfFirst }) => selfFirst),
      'index.recall@10': eachOf(statistics, ({ recall }) => recall),
    }
  }

  async #statistics(side: CanarySide, sampled: readonly (SampledVector & ProbeVector)[]) {
    const { ready } = await side.standing()
    let selfFirst: number | null = null
    let recall: number | null = null
    for (const replica of ready) {
      const own = sampled.filter(({ itemId }) => replica.partitions.includes(this.#partitionOf(itemId)))
      const { fingerprint } = side.asked
      const signal = this.#signal
      // One that refuses a search finds nothing.
      const probe = await probeReplica(replica, own.slice(0, probesPerReplica), { fingerprint, signal }).catch(() => {
        signal.throwIfAborted()
        return { asked: own.length, selfFirst: 0, recall: 0 }
      })
      const { generation, shard, replica: name } = replica
      this.#replicas.push({ generation, shard, replica: name, ...probe })
      selfFirst = least(selfFirst, probe.selfFirst)
      recall = least(recall, probe.recall)
    }
    return { ...vectorStatistics(sampled, side.asked.dims), selfFirst, recall }
  }

  #partitionOf(itemId: ItemId) {
    return partitionOf(itemId, this.#ports.partitions)
  }

  async #wholePictures(): Promise<Measured> {
    const name = 'picture.found@10'
    const answers = await this.#askPictures('pictures', { part: 'whole', name, atOnce: oneAtATime })
    return { ...foundMeasures(answers), ...latencyMeasures(answers) }
  }

  async #innerParts(): Promise<Measured> {
    const name = 'picture.cropFound@10'
    return cropMeasures(await this.#askPictures('parts of pictures', { part: 'inner', name, atOnce }))
  }

  #askPictures(
    what: string,
    asking: { readonly part: 'whole' | 'inner'; readonly name: string; readonly atOnce: number },
  ) {
    const { monotonicMs } = this.#ports
    const { part, name } = asking
    return this.#both.each(
      what,
      this.#questions.pictures,
      (side, item) => askPicture(side, item, { part, monotonicMs }),
      {
        atOnce: asking.atOnce,
        stands: item => this.#stands(item),
        worse: ({ candidate, reference }, { itemId }) =>
          reference.found && !candidate.found
            ? { measure: name, asked: itemId, detail: candidate.found === null ? 'got an error' : 'not found' }
            : null,
      },
    )
  }

  /** Events go on: the item is still there, with the same picture. */
  async #stands({ itemId, digest }: PictureItem): Promise<boolean> {
    const registers = await this.#both.sides.reference.registers(itemId)
    const snapshot = registers?.searchable ? registers.snapshot : null
    return snapshot?.imageDigests[0] === digest
  }

  async #neighbours(): Promise<Measured> {
    const { pictures } = this.#questions
    const ask = (side: CanarySide, { itemId }: PictureItem) => askLike(side, itemId)
    const stands = (item: PictureItem) => this.#stands(item)
    return neighbourMeasures(await this.#both.each('items like items', pictures, ask, { atOnce, stands }))
  }

  async #labelled(): Promise<Measured> {
    const { labelled, labelledSet } = this.#questions
    const ask = (side: CanarySide, question: LabelledQuestion) => askLabelled(side, question, labelledSet!)
    const answers = await this.#both.each('labelled set', labelled, ask, {
      atOnce,
      worse: ({ candidate, reference }, { image }) =>
        reference[0]!.at10 && !candidate[0]!.at10
          ? { measure: 'labelled.recall@10', asked: image, detail: 'no right answer among the first 10' }
          : null,
    })
    return labelledMeasures(answers)
  }

  async #engaged(): Promise<Measured> {
    const ask = (side: CanarySide, question: EngagementQuestion) => askEngagement(side, question, engagementK)
    const answers = await this.#both.each('engagement set', this.#questions.engaged, ask)
    return meanMeasure('engagement.recall@24', answers)
  }

  async #standings(): Promise<Measured> {
    const { candidate, reference } = this.#both.sides
    const [{ standing: ours }, { standing: theirs }] = await Promise.all([candidate.standing(), reference.standing()])
    const standings = { candidate: ours, reference: theirs }
    return {
      'shards.covered': eachOf(standings, ({ coveredShare }) => coveredShare),
      'replicas.ready': eachOf(standings, ({ readyShare }) => readyShare),
      'index.ageMs': eachOf(standings, ({ indexAgeMs }) => indexAgeMs),
      'items.searchable': eachOf(standings, ({ searchable }) => searchable),
      'items.failedShare': eachOf(standings, ({ failedShare }) => failedShare),
    }
  }
}

function answerMeasures(sides: Both<CanarySide>): Measured {
  const shareOf = (count: number, { questions }: CanarySide) => (questions === 0 ? null : count / questions)
  return {
    'answers.failedShare': eachOf(sides, side => shareOf(side.failed, side)),
    'answers.degradedShare': eachOf(sides, side => shareOf(side.degraded, side)),
  }
}

/** Of the worst one; null until something is known. */
function least(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.min(a, b)
}
