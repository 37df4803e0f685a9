const firstCapacity = 16
const free = -1

/**
 * A map by non-negative integers that come and go all the time: open addressing with linear probing, entries closed up
 * on removal. V8's own map (an ordered hash table) makes a new table after as many removals as it has entries, and the
 * old one points to it; one old table that has been promoted keeps all that follow, with what they held, until the next
 * full collection. With a map of calls in flight that is most of what the calls allocated.
 */
export class NumberMap<V> {
  #keys: number[] = new Array<number>(firstCapacity).fill(free)
  #values: (V | undefined)[] = new Array<V | undefined>(firstCapacity).fill(undefined)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(key: number): boolean {
    return this.#keys[this.#placeOf(key)] === key
  }

  get(key: number): V | undefined {
    return this.#values[this.#placeOf(key)]
  }

  set(key: number, value: V): void {
    const place = this.#placeOf(key)
    if (this.#keys[place] === free) {
      this.#size++
      this.#keys[place] = key
    }
    this.#values[place] = value
    if (2 * this.#size > this.#keys.length) this.#grow()
  }

  /** False when there was none. */
  delete(key: number): boolean {
    let hole = this.#placeOf(key)
    if (this.#keys[hole] !== key) return false
    const mask = this.#keys.length - 1
    for (let at = (hole + 1) & mask; this.#keys[at] !== free; at = (at + 1) & mask) {
      const home = this.#keys[at]! & mask
      if (((at - home) & mask) < ((at - hole) & mask)) continue
      this.#keys[hole] = this.#keys[at]!
      this.#values[hole] = this.#values[at]
      hole = at
    }
    this.#keys[hole] = free
    this.#values[hole] = undefined
    this.#size--
    return true
  }

  /** In no order. */
  values(): V[] {
    return this.#values.filter((_, place) => this.#keys[place] !== free) as V[]
  }

  clear(): void {
    this.#keys.fill(free)
    this.#values.fill(undefined)
    this.#size = 0
  }

  /** Where the key is, or would be. */
  #placeOf(key: number): number {
    const mask = this.#keys.length - 1
    let place = key & mask
    while (this.#keys[place] !== free && this.#keys[place] !== key) place = (place + 1) & mask
    return place
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values]
    this.#keys = new Array<number>(2 * keys.length).fill(free)
    this.#values = new Array<V | undefined>(2 * keys.length).fill(undefined)
    for (const [i, key] of keys.entries()) {
      if (key === free) continue
      const place = this.#placeOf(key)
      this.#keys[place] = key
      this.#values[place] = values[i]
    }
  }
}
