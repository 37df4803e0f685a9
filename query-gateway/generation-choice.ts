import { FreshetError } from '../schemas/errors.ts'
import { murmur2 } from '../schemas/partition.ts'
import type { RoutedGeneration } from './ports.ts'

/**
 * The one generation a query is pinned to: the one asked for, else one drawn by the shares. The draw follows `seed`
 * (the session, else the query id), so that a session stays where it is while the shares stay as they are.
 * @throws FreshetError `bad-request` (asked for one that is not there), `not-ready` (none has a share)
 */
export function chooseGeneration(
  routing: readonly RoutedGeneration[],
  wish: { readonly generation: string | undefined; readonly seed: string },
): RoutedGeneration {
  if (wish.generation !== undefined) return generationNamed(routing, wish.generation)
  const serving = routing.filter(({ share }) => share > 0)
  const point = serving.length < 2 ? 0 : ((murmur2(Buffer.from(wish.seed)) >>> 0) / 2 ** 32) * total(serving)
  let reached = 0
  for (const candidate of serving) {
    reached += candidate.share
    if (point < reached) return candidate
  }
  throw new FreshetError('not-ready', 'no generation serves queries yet')
}

/** Where item lookups go when no generation is named: the one with the largest share. */
export function mainGeneration(routing: readonly RoutedGeneration[], name?: string): RoutedGeneration {
  if (name !== undefined) return generationNamed(routing, name)
  const best = [...routing].sort((a, b) => b.share - a.share)[0]
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

function total(serving: readonly RoutedGeneration[]): number {
  return serving.reduce((sum, { share }) => sum + share, 0)
}
