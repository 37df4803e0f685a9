/** Of so many claims one is backfill, when there is any. */
export const claimsPerBackfill = 20

/** Keeps backfill its share of one claimer's claims, whatever waits before it. */
export class BackfillShare {
  #sinceTurn = 0

  /** Claims since backfill last had its turn; at most as many as are worth one. */
  get sinceTurn(): number {
    return this.#sinceTurn
  }

  /** After claims of which so many were backfill. */
  note(claims: number, backfillClaims: number): void {
    const sinceTurn = this.#sinceTurn + claims - backfillClaims * claimsPerBackfill
    this.#sinceTurn = Math.min(Math.max(sinceTurn, 0), claimsPerBackfill)
  }
}
