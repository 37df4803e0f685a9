/** What a search session saw and did. Topic `freshet.engagement`, keyed by query id. */
export interface ResultsShown {
  readonly type: 'ResultsShown'
  readonly queryId: string
  readonly generation: string
  readonly atMs: number
  /** Item ids in order of position. */
  readonly itemIds: readonly string[]
}

export type EngagementAction = 'click' | 'save' | 'cart' | 'purchase' | 'notRelevant'

export interface Engaged {
  readonly type: 'Engaged'
  readonly queryId: string
  readonly itemId: string
  readonly action: EngagementAction
  /** Position of the item in the results shown, from 0. */
  readonly position: number
  readonly atMs: number
}

export type EngagementRecord = ResultsShown | Engaged
