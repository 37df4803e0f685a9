import type { Engaged, EngagementAction, EngagementRecord, ResultsShown } from '../../schemas/engagement.ts'
import { examination, type ItemEngagement, noEngagement, storedWeight } from '../../schemas/item-engagement.ts'
import { SessionAllowance, type SessionLimits } from './session-allowance.ts'

/** What a partition of the engagement topic remembers of queries, and what counts of them. Bounds against bots. */
export interface EngagementLimits extends SessionLimits {
  /** Queries remembered at once; the oldest is forgotten, and what is reported of it later does not count. */
  readonly queries: number
  /** What is reported of a query later than this after it was answered does not count. */
  readonly queryAgeMs: number
  /** Items of one query on which something may be done; more are nobody's taste. */
  readonly itemsPerQuery: number
}

export const defaultEngagementLimits: EngagementLimits = {
  queries: 20_000,
  queryAgeMs: 6 * 3_600_000,
  itemsPerQuery: 20,
  sessions: 20_000,
  windowMs: 3_600_000,
  queriesPerWindow: 200,
  itemsPerWindow: 60,
}

/** What was done with an item of a query; each counts once. */
type Deed = 'clicks' | 'saves' | 'rejections'

interface ShownQuery {
  readonly session: string
  /** Items by their position. */
  readonly positions: ReadonlyMap<string, number>
  readonly atMs: number
}

interface QueryMemory {
  /** When it was first heard of, by the log's clock. */
  readonly sinceMs: number
  /** Null until the record of what was shown is read, or when nothing of the query counts. */
  shown: ShownQuery | null
  /** Reported before that record; each action of an item once. */
  early: Map<string, Set<EngagementAction>> | null
  readonly deeds: Map<string, Set<Deed>>
}

/**
 * State of one partition. A function of its records in their order, so that reading them again gives the same numbers
 * to the last bit; time is that of the log.
 */
export interface EngagementState {
  readonly limits: EngagementLimits
  /** In storage weights, see schemas/item-engagement.ts. */
  readonly items: Map<string, ItemEngagement>
  /** In the order in which they were first heard of. */
  readonly queries: Map<string, QueryMemory>
  readonly sessions: SessionAllowance
}

export function newEngagementState(limits: EngagementLimits = defaultEngagementLimits): EngagementState {
  return { limits, items: new Map(), queries: new Map(), sessions: new SessionAllowance(limits) }
}

/**
 * Applies one record. `appendTimeMs` is the log's time of it. Returns the items whose numbers changed.
 *
 * A record that comes twice counts once, what was never shown counts not at all, and nothing about an item counts that
 * one session did over and over.
 */
export function engagementStep(
  state: EngagementState,
  record: EngagementRecord,
  appendTimeMs: number,
): readonly string[] {
  forgetOld(state, appendTimeMs)
  const query = remembered(state, record.queryId, appendTimeMs)
  return record.type === 'ResultsShown'
    ? applyShown(state, query, { record, atMs: appendTimeMs })
    : applyEngaged(state, query, { record, atMs: appendTimeMs })
}

interface At<T> {
  readonly record: T
  readonly atMs: number
}

function applyShown(state: EngagementState, query: QueryMemory, { record, atMs }: At<ResultsShown>): readonly string[] {
  if (query.shown !== null) return []
  const { itemIds, session, queryId } = record
  // Without a session the query stands for itself.
  const who = session === '' ? queryId : session
  const early = query.early ?? new Map<string, Set<EngagementAction>>()
  query.early = null
  const positions = new Map<string, number>()
  const counts = state.sessions.takeQuery(who, atMs)
  if (counts)
    for (const [position, itemId] of itemIds.entries()) if (!positions.has(itemId)) positions.set(itemId, position)
  query.shown = { session: who, positions, atMs }
  const changed = new Set<string>()
  for (const [itemId, position] of positions) {
    add(state, itemId, { looks: examination(position) * storedWeight(atMs) })
    changed.add(itemId)
  }
  for (const [itemId, actions] of early)
    for (const action of actions) if (act(state, query, { itemId, action, atMs })) changed.add(itemId)
  return [...changed]
}

function applyEngaged(state: EngagementState, query: QueryMemory, { record, atMs }: At<Engaged>): readonly string[] {
  const { itemId, action } = record
  if (query.shown === null) {
    query.early ??= new Map()
    const actions = query.early.get(itemId) ?? new Set()
    if (query.early.size < state.limits.itemsPerQuery || query.early.has(itemId))
      query.early.set(itemId, actions.add(action))
    return []
  }
  return act(state, query, { itemId, action, atMs }) ? [itemId] : []
}

interface Act {
  readonly itemId: string
  readonly action: EngagementAction
  readonly atMs: number
}

/** Whether it changed what counts. */
function act(state: EngagementState, query: QueryMemory, { itemId, action, atMs }: Act): boolean {
  const { shown, deeds } = query
  if (shown === null || !shown.positions.has(itemId)) return false
  const done = deeds.get(itemId)
  // What was done fades from when it was shown, so that taking it back leaves nothing.
  const weight = storedWeight(shown.atMs)
  if (action === 'relevant') {
    if (!done?.delete('rejections')) return false
    state.sessions.giveBack(shown.session, deedOn('rejections', itemId))
    add(state, itemId, { rejections: -weight })
    return true
  }
  const deed = deedOf(action)
  if (done?.has(deed)) return false
  if (done === undefined && deeds.size >= state.limits.itemsPerQuery) return false
  if (!state.sessions.takeDeed(shown.session, deedOn(deed, itemId), atMs)) return false
  deeds.set(itemId, (done ?? new Set()).add(deed))
  add(state, itemId, { [deed]: weight })
  return true
}

function deedOn(deed: Deed, itemId: string): string {
  return `${deed} ${itemId}`
}

function deedOf(action: Exclude<EngagementAction, 'relevant'>): Deed {
  switch (action) {
    case 'click':
      return 'clicks'
    case 'save':
    case 'cart':
    case 'purchase':
      return 'saves'
    case 'notRelevant':
      return 'rejections'
  }
}

function add({ items }: EngagementState, itemId: string, more: Partial<ItemEngagement>): void {
  const held = items.get(itemId) ?? noEngagement
  items.set(itemId, {
    looks: held.looks + (more.looks ?? 0),
    clicks: held.clicks + (more.clicks ?? 0),
    saves: held.saves + (more.saves ?? 0),
    rejections: held.rejections + (more.rejections ?? 0),
  })
}

function remembered({ queries }: EngagementState, queryId: string, sinceMs: number): QueryMemory {
  const known = queries.get(queryId)
  if (known !== undefined) return known
  const fresh: QueryMemory = { sinceMs, shown: null, early: null, deeds: new Map() }
  queries.set(queryId, fresh)
  return fresh
}

function forgetOld({ queries, limits }: EngagementState, nowMs: number): void {
  for (const [queryId, { sinceMs }] of queries) {
    if (queries.size < limits.queries && nowMs - sinceMs <= limits.queryAgeMs) return
    queries.delete(queryId)
  }
}
