import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { type Static, Type } from '@sinclair/typebox'
import { FreshetError } from '../../schemas/errors.ts'
import type { RankingPart } from '../../schemas/http-search.ts'
import { shapeCheck } from '../shape-check.ts'

const closed = { additionalProperties: false } as const
const Weight = Type.Number({ minimum: 0, maximum: 1 })
const Rate = Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 })

/** A file `weights-<version>.json`. It is never changed once a generation was served with it: write the next one. */
const WeightsFile = Type.Object(
  {
    weights: Type.String({ pattern: '^[a-z0-9-]{1,40}$' }),
    models: Type.Array(Type.String({ minLength: 1 }), {
      minItems: 1,
      description: 'names of the model sets it was made for; "*" for all that no other file names',
    }),
    bound: Type.Number({
      minimum: 0,
      maximum: 1,
      description: 'a candidate more similar than another by more than this is never below it',
    }),
    parts: Type.Object(
      {
        availability: Weight,
        region: Weight,
        price: Weight,
        category: Weight,
        clickRate: Weight,
        saveRate: Weight,
        relevance: Weight,
      },
      { ...closed, description: 'their sum is at most the bound' },
    ),
    priors: Type.Object(
      {
        looks: Type.Number({ exclusiveMinimum: 0, description: 'looks that the prior rates are worth' }),
        clickRate: Rate,
        saveRate: Rate,
        rejectionRate: Rate,
      },
      { ...closed, description: 'rates of an item of which nothing is known' },
    ),
    alike: Type.Object(
      {
        similarity: Type.Number({
          minimum: 0,
          maximum: 1,
          description: 'how far the similarities of near-identical products to the query may lie apart',
        }),
      },
      closed,
    ),
  },
  closed,
)

export type SoftPart = Exclude<RankingPart, 'similarity'>

export interface RankingWeights extends Static<typeof WeightsFile> {
  /** SHA-256 of the file. */
  readonly digest: string
}

const checkShape: (value: unknown) => asserts value is Static<typeof WeightsFile> = shapeCheck(WeightsFile)

/** @throws FreshetError `config-invalid` with the field */
export function readWeights(name: string, bytes: Uint8Array): RankingWeights {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    checkShape(parsed)
    if (name !== `weights-${parsed.weights}.json`) throw new Error(`it says it is ${parsed.weights}`)
    const sum = Object.values(parsed.parts).reduce((total, weight) => total + weight, 0)
    if (sum > parsed.bound + 1e-9) throw new Error(`parts: their sum is ${sum}, over the bound ${parsed.bound}`)
    return { ...parsed, digest: createHash('sha256').update(bytes).digest('hex') }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new FreshetError('config-invalid', `the ranking weights ${name} are not usable: ${reason}`, { cause })
  }
}

/** Which weights a generation is ranked with. */
export class WeightsBook {
  readonly #all: readonly RankingWeights[]

  constructor(all: readonly RankingWeights[]) {
    this.#all = all
  }

  /** All weights files of this version. @throws FreshetError `config-invalid` */
  static read(directory: URL = new URL('.', import.meta.url)): WeightsBook {
    const names = readdirSync(directory).filter(name => /^weights-.+\.json$/.test(name))
    return new WeightsBook(names.sort().map(name => readWeights(name, readFileSync(new URL(name, directory)))))
  }

  /**
   * Those the generation names; else those made for its model; else those made for all. Of several the last by name.
   * @throws FreshetError `config-invalid` when there are none
   */
  of(generation: { readonly model: string; readonly weights?: string }): RankingWeights {
    const found = this.#find(generation)
    if (found) return found
    const { model, weights } = generation
    throw new FreshetError('config-invalid', `there are no ranking weights ${weights ?? `for the model ${model}`}`)
  }

  has(generation: { readonly model: string; readonly weights?: string }): boolean {
    return this.#find(generation) !== undefined
  }

  #find({ model, weights }: { readonly model: string; readonly weights?: string }): RankingWeights | undefined {
    if (weights !== undefined) return this.#all.find(each => each.weights === weights)
    return this.#madeFor(model) ?? this.#madeFor('*')
  }

  #madeFor(model: string): RankingWeights | undefined {
    return this.#all.findLast(({ models }) => models.includes(model))
  }
}
