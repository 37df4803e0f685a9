import type { SearchResult } from '../../schemas/http-search.ts'
import type { Box } from '../../schemas/mutation.ts'
import type { ShardHit } from '../../schemas/shard-api.ts'
import type { ScoredHit } from './rank.ts'

export interface ShownHit {
  readonly shown: ScoredHit
  readonly alike?: NonNullable<SearchResult['alike']>
}

export interface CollapseOptions {
  readonly k: number
  /** How close two similarities to the query are that count as the same. */
  readonly similarity: number
  /** False where only those that are shown matter, and not how many are like them: then it ends with the last of them. */
  readonly isCounted?: boolean
}

/** Item ids told of those that are not shown. */
const maxAlikeIds = 20

interface Group {
  readonly shown: ScoredHit
  readonly others: string[]
  count: number
}

/**
 * The best k of the candidates, each product once: a candidate nearly identical to one that stands above it is counted
 * there and not shown. Two are nearly identical when they show the same picture to the byte, or when they have the same
 * title and category and are as similar to the query as each other within `similarity`. Hits carry no vectors, so
 * products that merely look alike, with other titles and other pictures, are not recognised.
 */
export function collapse(
  hits: Iterable<ScoredHit>,
  { k, similarity, isCounted = true }: CollapseOptions,
): readonly ShownHit[] {
  const groups: Group[] = []
  const byPicture = new Map<string, Group[]>()
  const byName = new Map<string, Group[]>()
  for (const hit of hits) {
    if (!isCounted && groups.length === k) break
    const name = nameOf(hit.hit)
    const picture = pictureOf(hit.hit)
    const pictured = picture === undefined ? none : (byPicture.get(picture) ?? none)
    const namesakes = name === null ? none : (byName.get(name) ?? none)
    const group =
      pictured.find(({ shown }) => isSameBox(shown.hit.object.box, hit.hit.object.box)) ??
      namesakes.find(
        ({ shown: { hit: other } }) =>
          other.item.category === hit.hit.item.category &&
          Math.abs(other.similarity - hit.hit.similarity) <= similarity,
      )
    if (group !== undefined) {
      group.count++
      if (group.others.length < maxAlikeIds) group.others.push(hit.hit.itemId)
      continue
    }
    if (groups.length >= k) continue
    const fresh: Group = { shown: hit, others: [], count: 0 }
    groups.push(fresh)
    if (picture !== undefined) byPicture.set(picture, [...pictured, fresh])
    if (name !== null) byName.set(name, [...namesakes, fresh])
  }
  return groups.map(({ shown, others, count }) =>
    count === 0 ? { shown } : { shown, alike: { count, itemIds: others } },
  )
}

const none: readonly Group[] = []

/** Digest of the picture that was found. */
function pictureOf({ item, object }: ShardHit): string | undefined {
  return item.imageDigests[object.image]
}

/** Two things in one picture are two products. */
function isSameBox(one: Box, other: Box): boolean {
  return one.every((edge, at) => edge === other[at])
}

/** Most titles: nothing in them has to be made equal but the case. */
const plainTitle = /^[!-~]+(?: [!-~]+)*$/

/** The title but for its spelling; null for a product without one: that says nothing. */
function nameOf({ item }: ShardHit): string | null {
  const lower = plainTitle.test(item.title)
    ? item.title.toLowerCase()
    : item.title.normalize('NFKC').toLowerCase().replace(/\s+/gu, ' ').trim()
  return lower === '' ? null : lower
}
