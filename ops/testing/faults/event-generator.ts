import type { ItemDeleted, ItemUpserted } from '../../../schemas/catalog-event.ts'
import { type ItemId, parseItemId } from '../../../schemas/ids.ts'

export type ItemEvent = ItemUpserted | ItemDeleted

export interface EventGeneratorOptions {
  /** 0 to 1, seeded. */
  readonly random: () => number
  readonly items: number
  /** References of pictures to choose from. */
  readonly pictures: readonly string[]
}

interface KnownItem {
  readonly picture: string
  readonly imageVersion: number
  readonly price: number
}

/** A search for one of them finds all its items: no search returns more than 200. */
export const itemsPerCategory = 100

/**
 * An endless catalogue in motion: new items, changed attributes, changed pictures, the same picture under a new image
 * version, deletes, and items that come back. No two upserts have the same title, so that each can be told apart.
 */
export class EventGenerator {
  readonly #options: EventGeneratorOptions
  readonly #known = new Map<ItemId, KnownItem>()
  #made = 0

  constructor(options: EventGeneratorOptions) {
    this.#options = options
  }

  next(): ItemEvent {
    const number = this.#below(this.#options.items)
    const itemId = nameOf(number)
    const before = this.#known.get(itemId)
    const chance = this.#options.random()
    if (before !== undefined && chance < 0.15) {
      this.#known.delete(itemId)
      return { type: 'ItemDeleted', itemId }
    }
    const after = this.#changed(before, chance)
    this.#known.set(itemId, after)
    return {
      type: 'ItemUpserted',
      itemId,
      images: [after.picture],
      imageVersion: after.imageVersion === 0 ? '' : String(after.imageVersion),
      refresh: false,
      title: `event ${++this.#made}`,
      category: categoryOf(number),
      price: after.price,
      currency: 'EUR',
      regions: number % 3 === 0 ? ['de', 'fr'] : [],
      available: number % 5 !== 0,
      attributes: { number },
    }
  }

  take(count: number): readonly ItemEvent[] {
    return Array.from({ length: count }, () => this.next())
  }

  #changed(before: KnownItem | undefined, chance: number): KnownItem {
    const price = this.#below(100_000) / 100
    if (before !== undefined && chance < 0.5) return { ...before, price }
    if (before !== undefined && chance < 0.6) return { ...before, imageVersion: before.imageVersion + 1 }
    const { pictures } = this.#options
    return { picture: pictures[this.#below(pictures.length)]!, imageVersion: 0, price }
  }

  #below(limit: number): number {
    return Math.floor(this.#options.random() * limit)
  }
}

/** Names that paths, keys and encodings could stumble over. */
function nameOf(number: number): ItemId {
  const shapes = [`item-${number}`, `shop/${number}/a b`, `möbel ${number} 🛋️`, `${'x'.repeat(100)}${number}`]
  return parseItemId(shapes[number % shapes.length])
}

const categoryOf = (number: number): string => `shelf ${Math.floor(number / itemsPerCategory)}`

/** Those of a generator for so many items. */
export function categoriesOf(items: number): readonly string[] {
  return Array.from({ length: Math.ceil(items / itemsPerCategory) }, (_, shelf) => categoryOf(shelf * itemsPerCategory))
}
