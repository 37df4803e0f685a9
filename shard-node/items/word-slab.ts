import { extend, uint32Column } from './growable.ts'

const growWords = 2 ** 16

/**
 * Lists of u32 in one array, named by where they begin; 0 is the empty list. What is freed serves lists of the same
 * length, so that the garbage is at most what such lists once took.
 */
export class WordSlab {
  /** All lists; words of freed lists are 0 but for the first. */
  readonly words = uint32Column(2 ** 30)
  /** By length: the freed list to use next; its first word names the one after. */
  readonly #freed = new Map<number, number>()
  #end = 1

  get memoryBytes(): number {
    return this.words.byteLength
  }

  /** Words in use or freed lie below. */
  get end(): number {
    return this.#end
  }

  allocate(length: number): number {
    if (length === 0) return 0
    const freed = this.#freed.get(length) ?? 0
    if (freed !== 0) {
      this.#freed.set(length, this.words[freed]!)
      return freed
    }
    const at = this.#end
    this.#end += length
    if (this.#end > this.words.length) extend(this.words, this.#end + growWords)
    return at
  }

  free(at: number, length: number): void {
    if (length === 0) return
    this.words.fill(0, at, at + length)
    this.words[at] = this.#freed.get(length) ?? 0
    this.#freed.set(length, at)
  }

  /** A new list with these words. */
  store(list: ArrayLike<number>): number {
    const at = this.allocate(list.length)
    for (let i = 0; i < list.length; i++) this.words[at + i] = list[i]!
    return at
  }
}
