import type { SearchAnswer } from '../../../schemas/http-search.ts'
import { type Answered, type Both, eachOf } from './both-sides.ts'
import type { LabelledResult, PictureAnswer, PictureItem } from './canary-questions.ts'
import type { Measured, MeasureName } from './measure-names.ts'

type Results = SearchAnswer['results']

export function foundMeasures(answers: readonly Both<PictureAnswer>[]): Measured {
  return { 'picture.found@10': ofBoth(answers, ({ found }) => (found === null ? null : Number(found))) }
}

export function cropMeasures(answers: readonly Both<PictureAnswer>[]): Measured {
  return {
    'picture.cropFound@1': ofBoth(answers, ({ isFirst }) => (isFirst === null ? null : Number(isFirst))),
    'picture.cropFound@10': ofBoth(answers, ({ found }) => (found === null ? null : Number(found))),
  }
}

export function latencyMeasures(answers: readonly Both<PictureAnswer>[]): Measured {
  const quantile = (at: number) => (list: readonly number[]) =>
    list[Math.min(list.length - 1, Math.floor(at * list.length))]
  const of = (pick: (sorted: readonly number[]) => number | undefined): Both<number | null> => {
    const times = (side: PictureAnswer[]) => side.flatMap(({ tookMs }) => tookMs ?? []).sort((a, b) => a - b)
    const sides = { candidate: answers.map(pair => pair.candidate), reference: answers.map(pair => pair.reference) }
    return eachOf(sides, side => pick(times(side)) ?? null)
  }
  return { 'latency.p50Ms': of(quantile(0.5)), 'latency.p95Ms': of(quantile(0.95)) }
}

export function neighbourMeasures(answers: readonly Answered<PictureItem, Results | null>[]): Measured {
  const isTelling = new Set(answers.map(({ question }) => question.snapshot.category)).size > 1
  const sameCategory = (results: Results | null, { snapshot }: PictureItem): number | null => {
    if (!isTelling || results === null || results.length === 0) return null
    return results.filter(({ item }) => item.category === snapshot.category).length / results.length
  }
  const agreement = answers.map(({ candidate, reference }) => {
    const known = new Set((reference ?? []).map(({ itemId }) => itemId))
    return known.size === 0 ? null : (candidate ?? []).filter(({ itemId }) => known.has(itemId)).length / known.size
  })
  return {
    'neighbours.sameCategory@10': {
      candidate: meanOf(answers.map(({ candidate, question }) => sameCategory(candidate, question))),
      reference: meanOf(answers.map(({ reference, question }) => sameCategory(reference, question))),
    },
    'neighbours.agreement@10': { candidate: meanOf(agreement), reference: null },
  }
}

/** Nothing is measured of kinds of questions that there are none of. */
export function labelledMeasures(answers: readonly Both<readonly LabelledResult[]>[]): Measured {
  const all = {
    candidate: answers.flatMap(pair => pair.candidate),
    reference: answers.flatMap(pair => pair.reference),
  }
  const recall = (kinds: readonly string[], at: 'at1' | 'at5' | 'at10'): Both<number | null> =>
    eachOf(all, side => meanOf(side.filter(({ kind }) => kinds.includes(kind)).map(result => Number(result[at]))))
  const asked = ['picture', 'box']
  return {
    'labelled.recall@1': recall(asked, 'at1'),
    'labelled.recall@5': recall(asked, 'at5'),
    'labelled.recall@10': recall(asked, 'at10'),
    'labelled.picture.recall@1': recall(['picture'], 'at1'),
    'labelled.picture.recall@5': recall(['picture'], 'at5'),
    'labelled.picture.recall@10': recall(['picture'], 'at10'),
    'labelled.picture.ndcg@10': eachOf(all, side => meanOf(side.map(({ gain }) => gain))),
    'labelled.box.recall@1': recall(['box'], 'at1'),
    'labelled.box.recall@5': recall(['box'], 'at5'),
    'labelled.box.recall@10': recall(['box'], 'at10'),
    'labelled.detected.recall@1': recall(['detected'], 'at1'),
    'labelled.detected.recall@5': recall(['detected'], 'at5'),
    'labelled.detected.recall@10': recall(['detected'], 'at10'),
  }
}

/** The mean of each side under the name; what is null does not count. */
export function meanMeasure(name: MeasureName, answers: readonly Both<number | null>[]): Measured {
  return { [name]: ofBoth(answers, value => value) }
}

function ofBoth<T>(answers: readonly Both<T>[], of: (side: T) => number | null): Both<number | null> {
  return {
    candidate: meanOf(answers.map(({ candidate }) => of(candidate))),
    reference: meanOf(answers.map(({ reference }) => of(reference))),
  }
}

function meanOf(values: readonly (number | null)[]): number | null {
  const known = values.filter(value => value !== null)
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length
}
