import { dirname, resolve } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { isBox } from '../../../schemas/accept-mutation.ts'
import { FreshetError } from '../../../schemas/errors.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import type { Box } from '../../../schemas/mutation.ts'
import { isHit } from './retrieval-metrics.ts'

/** Pictures, and what people say should be found by them. */
export interface LabelledSet {
  readonly name: string
  /** SHA-256 over the files of questions. */
  readonly digest: string
  /** It was configured: what it measures is required. Else it comes along, and need not fit the catalogue. */
  readonly isConfigured: boolean
  readonly questions: readonly LabelledQuestion[]
  /** Bytes of the picture of a question. @throws FreshetError `config-invalid` when it cannot be read */
  picture(path: string): Promise<Uint8Array>
}

/** By the whole picture, or by a box in it. */
export interface LabelledQuestion {
  readonly kind: 'picture' | 'box'
  /** As the file has it. */
  readonly image: string
  /** Where it lies: beside the file, unless it is named absolutely. */
  readonly path: string
  readonly box: Box
  /** 2 or more: the item wanted; 1: one that is like it. */
  readonly grades: ReadonlyMap<string, number>
  /** Any item of these is right too. */
  readonly categories: readonly string[]
}

const Grade = Type.Object({ id: Type.String({ minLength: 1 }), grade: Type.Integer({ minimum: 0, maximum: 10 }) })
const BoxField = Type.Array(Type.Number(), { minItems: 4, maxItems: 4 })
const image = Type.String({ minLength: 1 })
const AnyQuestion = Type.Union([
  Type.Object({ image, relevant: Type.Array(Grade, { minItems: 1 }) }),
  Type.Object({
    image,
    objects: Type.Array(Type.Object({ id: Type.String({ minLength: 1 }), box: BoxField }), { minItems: 1 }),
  }),
  Type.Object({
    image,
    categories: Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }),
    box: Type.Optional(BoxField),
  }),
])

const wholePicture: Box = [0, 0, 1, 1]
const wantedGrade = 2

/**
 * Questions of a file of JSON lines, each of one of three forms: `{image, relevant: [{id, grade}]}`,
 * `{image, objects: [{id, box}]}`, `{image, categories, box?}`. Further fields are for people.
 * @throws FreshetError `config-invalid` naming the line
 */
export function parseLabelled(text: string, from: string): readonly LabelledQuestion[] {
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    try {
      return questionsOf(line, dirname(from))
    } catch (cause) {
      const { message } = cause as Error
      throw new FreshetError('config-invalid', `labelled set ${from}, line ${i + 1}: ${message}`, { cause })
    }
  })
}

function questionsOf(line: string, directory: string): readonly LabelledQuestion[] {
  const given: unknown = JSON.parse(line)
  if (!Value.Check(AnyQuestion, given))
    throw new Error('expected image with relevant [{id, grade}], objects [{id, box}], or categories [..]')
  return asQuestions(given, directory)
}

function asQuestions(given: Static<typeof AnyQuestion>, directory: string): readonly LabelledQuestion[] {
  const { image } = given
  const path = resolve(directory, image)
  if ('relevant' in given) {
    const grades = new Map(given.relevant.map(({ id, grade }) => [id, grade]))
    return [{ kind: 'picture', image, path, box: wholePicture, grades, categories: [] }]
  }
  if ('objects' in given)
    return given.objects.map(({ id, box }) => {
      return { kind: 'box', image, path, box: checked(box), grades: new Map([[id, wantedGrade]]), categories: [] }
    })
  const { box, categories } = given
  const kind = box === undefined ? 'picture' : 'box'
  return [{ kind, image, path, box: box === undefined ? wholePicture : checked(box), grades: new Map(), categories }]
}

function checked(given: readonly number[]): Box {
  const box = given as Box
  if (isBox(box)) return box
  throw new Error('a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1, as fractions of the picture')
}

/** Items that are right answers by themselves. */
export function wantedIds({ grades }: Pick<LabelledQuestion, 'grades'>): ReadonlySet<string> {
  return new Set([...grades].filter(([, grade]) => grade >= wantedGrade).map(([id]) => id))
}

/** A right answer is among the first `k`. */
export function isAnswered(question: LabelledQuestion, results: SearchAnswer['results'], k: number): boolean {
  const ranked = results.map(({ itemId }) => itemId)
  if (isHit(ranked, wantedIds(question), k)) return true
  return results.slice(0, k).some(({ item }) => question.categories.includes(item.category))
}
