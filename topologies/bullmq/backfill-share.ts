/** Of twenty claims one is backfill, when there is any. */
const claimsPerBackfill = 20

/** Keeps backfill its share of one claimer's claims, whatever waits before it. */
export class BackfillShare {
  /** Claims since backfill last had its turn; at most as many as are worth one. */
  #sinceTurn = 0

  /** How many of the next `claims` have to be backfill, should so many be waiting. */
  due(claims: number): number {
    return Math.floor((this.#sinceTurn + claims) / claimsPerBackfill)
  }

  /** After claims of which so many were backfill. */
  note(claims: number, backfillClaims: number): void {
    const sinceTurn = this.#sinceTurn + claims - backfillClaims * claimsPerBackfill
    this.#sinceTurn = Math.min(Math.max(sinceTurn, 0), claimsPerBackfill)
  }
}
