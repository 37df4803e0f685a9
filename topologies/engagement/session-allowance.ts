export interface SessionLimits {
  /** Sessions remembered at once; the one longest not heard of is forgotten. */
  readonly sessions: number
  /** Allowances are given anew after this time. */
  readonly windowMs: number
  /** Queries of a session whose results count as shown. */
  readonly queriesPerWindow: number
  /** Deeds of a session that count. */
  readonly itemsPerWindow: number
}

interface Session {
  windowFromMs: number
  queries: number
  readonly deeds: Set<string>
}

/**
 * How much of what one session does counts: so many queries and deeds in a window, and each deed on an item once. What
 * is beyond is ignored, looks and clicks alike, so that a program that clicks at random moves nothing. Decided by the
 * records and the log's clock alone.
 */
export class SessionAllowance {
  readonly #limits: SessionLimits
  /** In the order in which they were last heard of. */
  readonly #sessions = new Map<string, Session>()

  constructor(limits: SessionLimits) {
    this.#limits = limits
  }

  /** Whether the results of another query of the session count. */
  takeQuery(session: string, atMs: number): boolean {
    const held = this.#heard(session, atMs)
    if (held.queries >= this.#limits.queriesPerWindow) return false
    held.queries++
    return true
  }

  /** Whether what the session did counts; `deed` names it with its item. */
  takeDeed(session: string, deed: string, atMs: number): boolean {
    const { deeds } = this.#heard(session, atMs)
    if (deeds.has(deed) || deeds.size >= this.#limits.itemsPerWindow) return false
    deeds.add(deed)
    return true
  }

  /** What the session took back may be done again. */
  giveBack(session: string, deed: string): void {
    this.#sessions.get(session)?.deeds.delete(deed)
  }

  #heard(name: string, atMs: number): Session {
    const known = this.#sessions.get(name)
    this.#sessions.delete(name)
    const isCurrent = known !== undefined && atMs - known.windowFromMs < this.#limits.windowMs
    const session = isCurrent ? known : { windowFromMs: atMs, queries: 0, deeds: new Set<string>() }
    this.#sessions.set(name, session)
    if (this.#sessions.size > this.#limits.sessions) this.#sessions.delete(this.#sessions.keys().next().value!)
    return session
  }
}
