/** What a search session saw and did. Topic `freshet.engagement`, keyed by query id. */
export interface ResultsShown {
  readonly type: 'ResultsShown'
  readonly queryId: string
  readonly generation: string
  readonly atMs: number
  /** Item ids in order of position. */
  readonly itemIds: readonly string[]
  /** Keyed hash of the session that saw them; empty where there is none. Records of before had none. */
  readonly session: string
}

/** `relevant` takes a `notRelevant` back. */
export type EngagementAction = 'click' | 'save' | 'cart' | 'purchase' | 'notRelevant' | 'relevant'

export interface Engaged {
  readonly type: 'Engaged'
  readonly queryId: string
  readonly itemId: string
  readonly action: EngagementAction
  /** Position of the item in the results shown, from 0, as the caller says: what counts is that of `ResultsShown`. */
  readonly position: number
  readonly atMs: number
}

export type EngagementRecord = ResultsShown | Engaged
