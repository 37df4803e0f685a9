import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { FreshetError } from '../../../schemas/errors.ts'
import { type MeasureName, measureNames } from './measure-names.ts'

const closed = { additionalProperties: false } as const
const Size = Type.Integer({ minimum: 1, maximum: 10_000 })

const BoundShape = Type.Object(
  {
    measure: Type.String(),
    atLeast: Type.Optional(Type.Number()),
    atMost: Type.Optional(Type.Number()),
    /** The number is a factor of the reference's measure, or what is added to it; absent: it stands for itself. */
    relativeTo: Type.Optional(Type.Union([Type.Literal('times-reference'), Type.Literal('plus-reference')])),
    /** Met anyway while the candidate's measure is at most this. */
    unlessBelow: Type.Optional(Type.Number()),
    /** Whether what cannot be measured fails; `when-configured`: where a labelled set was given. */
    required: Type.Optional(Type.Union([Type.Literal('yes'), Type.Literal('no'), Type.Literal('when-configured')])),
  },
  closed,
)

const BoundsFile = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z0-9-]{1,40}$' }),
    /** Questions of each kind at most. */
    sample: Type.Object({ vectors: Size, pictures: Size, labelled: Size, engagements: Size }, closed),
    bounds: Type.Array(BoundShape, { minItems: 1 }),
  },
  closed,
)

export type Bound = Omit<Static<typeof BoundShape>, 'measure'> & { readonly measure: MeasureName }
export type SampleSizes = Static<typeof BoundsFile>['sample']

export interface CanaryBounds {
  readonly name: string
  /** SHA-256 of the file. */
  readonly digest: string
  readonly sample: SampleSizes
  readonly bounds: readonly Bound[]
}

/** The file that comes with Freshet, or the one named. @throws FreshetError `config-invalid` */
export function readBounds(path: string | URL = new URL('./canary-bounds.json', import.meta.url)): CanaryBounds {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new FreshetError('config-invalid', `the canary bounds ${path} cannot be read`, { cause })
  }
  return parseBounds(text, String(path))
}

/** @throws FreshetError `config-invalid`, naming the key that is unknown or wrong */
export function parseBounds(text: string, from: string): CanaryBounds {
  const refuse = (reason: string, cause?: unknown): FreshetError =>
    new FreshetError('config-invalid', `canary bounds ${from}: ${reason}`, { cause })
  let file: unknown
  try {
    file = JSON.parse(text)
  } catch (cause) {
    throw refuse('not JSON', cause)
  }
  if (!Value.Check(BoundsFile, file)) {
    const { path = '', message = '' } = Value.Errors(BoundsFile, file).First() ?? {}
    throw refuse(`${path === '' ? 'the file' : path}: ${message}`)
  }
  const bounds = file.bounds.map((bound, i): Bound => {
    const { measure, atLeast, atMost } = bound
    if (!isMeasure(measure)) throw refuse(`/bounds/${i}/measure: there is no measure ${measure}`)
    if ((atLeast === undefined) === (atMost === undefined))
      throw refuse(`/bounds/${i}: ${measure} needs either atLeast or atMost`)
    if (bound.unlessBelow !== undefined && atMost === undefined)
      throw refuse(`/bounds/${i}/unlessBelow: goes with atMost only`)
    return { ...bound, measure }
  })
  const digest = createHash('sha256').update(text).digest('hex')
  return { name: file.name, digest, sample: file.sample, bounds }
}

function isMeasure(name: string): name is MeasureName {
  return Object.hasOwn(measureNames, name)
}
