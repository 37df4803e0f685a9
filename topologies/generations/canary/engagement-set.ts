import type { EngagementRecord } from '../../../schemas/engagement.ts'

/**
 * Items that somebody chose for one and the same query. The topic does not hold pictures of queries, so what can be
 * asked again is this: does a search like one of them show the others? What was chosen had been shown by the
 * generation that served then, which favours it.
 */
export interface EngagementQuestion {
  readonly itemId: string
  readonly expected: ReadonlySet<string>
}

/** Actions that say: this is what I was looking for. */
const chosen: ReadonlySet<string> = new Set(['click', 'save', 'cart', 'purchase', 'relevant'])
/** On more items than a person wants. */
const mostChosen = 20

/** Of the queries whose records are among these, the latest first; records in order per query. */
export function engagementQuestions(
  records: readonly EngagementRecord[],
  limit: number,
): readonly EngagementQuestion[] {
  const queries = new Map<string, { shown: ReadonlySet<string>; picked: Set<string>; atMs: number }>()
  for (const record of records) {
    const query = queries.get(record.queryId) ?? { shown: new Set(), picked: new Set(), atMs: 0 }
    queries.set(record.queryId, query)
    query.atMs = Math.max(query.atMs, record.atMs)
    if (record.type === 'ResultsShown') query.shown = new Set(record.itemIds)
    else if (chosen.has(record.action)) query.picked.add(record.itemId)
    else query.picked.delete(record.itemId)
  }
  return [...queries.values()]
    .sort((a, b) => b.atMs - a.atMs)
    .flatMap(({ shown, picked }) => questionOf([...picked].filter(itemId => shown.has(itemId))))
    .slice(0, limit)
}

function questionOf(picked: readonly string[]): readonly EngagementQuestion[] {
  const [itemId, ...others] = picked
  if (itemId === undefined || others.length === 0 || picked.length > mostChosen) return []
  return [{ itemId, expected: new Set(others) }]
}
