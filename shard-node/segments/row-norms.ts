/** Lengths of a number of vectors. */
export class RowNorms {
  #rows = 0
  #min = Number.POSITIVE_INFINITY
  #max = 0
  #sum = 0

  add(norm: number): void {
    this.#rows++
    this.#sum += norm
    if (norm < this.#min) this.#min = norm
    if (norm > this.#max) this.#max = norm
  }

  get min(): number {
    return this.#rows === 0 ? 0 : this.#min
  }

  get max(): number {
    return this.#max
  }

  get mean(): number {
    return this.#rows === 0 ? 0 : this.#sum / this.#rows
  }
}
