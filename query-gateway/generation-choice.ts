import { FreshetError } from '../schemas/errors.ts'
import { murmur2 } from '../schemas/partition.ts'
import type { RoutedGeneration } from './ports.ts'

export interface GenerationWish {
  readonly generation: string | undefined
  /** Queries of one seed stay together: the session, else the query's id. */
  readonly seed: string
  /** Whether this process can put the query to a generation. */
  readonly canAsk: (generation: RoutedGeneration) => boolean
}

export interface GenerationChoice {
  readonly generation: RoutedGeneration
  /** The shares meant another one, which this process cannot ask. */
  readonly isMoved: boolean
}

/**
 * The one generation a query is pinned to: the one asked for, else one drawn by the shares.
 *
 * The shares lie side by side on the unit interval, the newest generation first, and the seed is a point on it. So while
 * one generation's share grows and no other's does, every session that it has stays with it.
 * @throws FreshetError `bad-request` (asked for one that is not there), `not-ready` (none has a share, or this process
 * can ask none that has)
 */
export function chooseGeneration(routing: readonly RoutedGeneration[], wish: GenerationWish): GenerationChoice {
  const { generation: name, canAsk } = wish
  if (name !== undefined) {
    const named = generationNamed(routing, name)
    if (canAsk(named)) return { generation: named, isMoved: false }
    throw new FreshetError(
      'not-ready',
      `generation ${name} cannot be asked from here: its model or its ranking weights are not here`,
    )
  }
  const serving = routing.filter(({ share }) => share > 0).toReversed()
  if (serving.length === 0) throw new FreshetError('not-ready', 'no generation serves queries yet')
  const drawn = generationAt(serving, wish.seed)
  if (canAsk(drawn)) return { generation: drawn, isMoved: false }
  const other = largest(serving.filter(canAsk))
  if (other !== undefined) return { generation: other, isMoved: true }
  throw new FreshetError(
    'not-ready',
    'no generation that serves queries can be asked from here: their models are not loaded',
  )
}

/** Where item lookups go when no generation is named: the one with the largest share. */
export function mainGeneration(routing: readonly RoutedGeneration[], name?: string): RoutedGeneration {
  if (name !== undefined) return generationNamed(routing, name)
  const best = largest(routing)
  if (!best) throw new FreshetError('not-ready', 'there is no generation yet')
  return best
}

function generationNamed(routing: readonly RoutedGeneration[], name: string): RoutedGeneration {
  const found = routing.find(({ generation }) => generation === name)
  if (found) return found
  const known = routing.map(({ generation }) => generation)
  throw new FreshetError('bad-request', `generation: there is no "${name}"`, {
    details: { field: 'generation', known },
  })
}

function generationAt(serving: readonly RoutedGeneration[], seed: string): RoutedGeneration {
  const sum = serving.reduce((total, { share }) => total + share, 0)
  const point = ((murmur2(Buffer.from(seed)) >>> 0) / 2 ** 32) * sum
  let reached = 0
  for (const candidate of serving) {
    reached += candidate.share
    if (point < reached) return candidate
  }
  return serving.at(-1)!
}

/** Of equal ones the first. */
function largest(routing: readonly RoutedGeneration[]): RoutedGeneration | undefined {
  return routing.toSorted((a, b) => b.share - a.share)[0]
}
