import type { ItemAttributes } from '../../schemas/catalog-event.ts'
import type { ItemId } from '../../schemas/ids.ts'
import { parseItemId } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import { norm, normalise } from '../../schemas/unit-vector.ts'
import { seededRandom } from './seeded-random.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from './shard-on-log.ts'

/** What catalogue services, workers and a restarted dispatcher do to items. */
export const eventKinds = ['create', 'attributes', 'image', 'failure', 'retried failure', 'delete', 'repeat'] as const
export type EventKind = (typeof eventKinds)[number]

export interface WorkloadOptions {
  readonly seed: number
  readonly dims: number
  /** Size of the space that item ids are drawn from; about two thirds live at a time. */
  readonly items: number
  /** Versions begin above. */
  readonly aboveVersion?: number
}

const clusters = 12
const categories = ['chair', 'lamp', 'sofa', 'table', 'rug']
const regions = ['DE', 'FR', 'US']
const colours = ['red', 'blue', 'green', 'black']
/** Products of two multiples of 1/128 are summed exactly in f32, in any order. */
const grid = 128
/** Below the tolerance of `acceptVector`. */
const maxNormError = 0.009
const rememberedMutations = 500

/** Random unit vectors around centres whose components are multiples of 1/128, so that dot products are exact. */
export class GridVectors {
  readonly #random: () => number
  readonly #centres: readonly Float32Array[]
  readonly #dims: number

  constructor(options: { readonly seed: number; readonly dims: number }) {
    this.#random = seededRandom(options.seed)
    this.#dims = options.dims
    this.#centres = Array.from({ length: clusters }, () => this.#direction())
  }

  next(cluster: number): Float32Array {
    for (;;) {
      const noise = this.#direction()
      const mixed = normalise(this.#centres[cluster % clusters]!.map((value, i) => value + 0.7 * noise[i]!))
      const vector = mixed.map(value => Math.round(value * grid) / grid)
      if (Math.abs(norm(vector) - 1) < maxNormError) return vector
    }
  }

  #direction(): Float32Array {
    const gaussian = (): number => Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random())
    return normalise(Float32Array.from({ length: this.#dims }, gaussian))
  }
}

/**
 * Mutations as a log may hold them. Each event of an item gets the next version; its writes come at once or late, in
 * any order among those of other registers and versions, and earlier ones come again. Only what has one key keeps its
 * order: the two reports of a failure that is retried.
 */
export class ShardWorkload {
  readonly #random: () => number
  readonly #vectors: GridVectors
  readonly #options: WorkloadOptions
  readonly #live = new Set<number>()
  /** Writes that are on their way, each a sequence to be written in order. */
  readonly #late: RegisterMutation[][] = []
  readonly #written: RegisterMutation[] = []
  #version: number

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.#version = options.aboveVersion ?? 0
    this.#random = seededRandom(options.seed)
    this.#vectors = new GridVectors({ seed: options.seed ^ 0x5eed, dims: options.dims })
  }

  /** Highest version below which every write is in the log: what a watermark may say. */
  get completeVersion(): number {
    const late = this.#late.flat().map(({ version }) => version.offset)
    return Math.min(this.#version, ...late.map(offset => offset - 1))
  }

  /** One event and what becomes due of earlier ones. */
  next(): { readonly kind: EventKind; readonly mutations: readonly RegisterMutation[] } {
    const kind = this.#kind()
    const mutations: RegisterMutation[] = []
    for (const sequence of this.#event(kind)) {
      if (this.#random() < 0.7) mutations.push(...sequence)
      else this.#late.push(sequence)
    }
    while (this.#late.length > 0 && this.#random() < this.#late.length / 60) mutations.push(...this.#takeLate())
    this.#remember(mutations)
    return { kind, mutations }
  }

  /** Everything that is still on its way. */
  drain(): readonly RegisterMutation[] {
    const mutations: RegisterMutation[] = []
    while (this.#late.length > 0) mutations.push(...this.#takeLate())
    this.#remember(mutations)
    return mutations
  }

  /** Deletes about so many of the items that live. */
  removeShare(share: number): readonly RegisterMutation[] {
    const removed = [...this.#live].filter(() => this.#random() < share)
    for (const item of removed) this.#live.delete(item)
    return removed.map(item => itemRemoved(idOf(item), ++this.#version))
  }

  query(): Float32Array {
    return this.#vectors.next(this.#below(clusters))
  }

  itemId(): ItemId {
    return idOf(this.#below(this.#options.items))
  }

  /** From those that allow nothing to those that allow nearly everything; a category is a cluster's more often than not. */
  filter(): SearchFilter {
    switch (this.#below(7)) {
      case 0:
        return { category: [this.#oneOf(categories)] }
      case 1:
        return { region: [this.#oneOf(regions)], available: true }
      case 2:
        return { price: { min: this.#below(100) } }
      case 3: {
        const min = this.#below(100)
        return { price: { min, max: min + this.#below(4) } }
      }
      case 4:
        return { attributes: { colour: [this.#oneOf(colours), this.#oneOf(colours)] } }
      case 5:
        return { category: [this.#oneOf(categories)], attributes: { colour: ['red'], size: [this.#below(5)] } }
      default:
        return { category: ['spaceship'] }
    }
  }

  #kind(): EventKind {
    const share = this.#live.size / this.#options.items
    const draw = this.#random()
    if (draw > share + 0.2) return 'create'
    const kinds: readonly EventKind[] = [
      'attributes',
      'image',
      'image',
      'failure',
      'retried failure',
      'delete',
      'repeat',
    ]
    return this.#live.size === 0 ? 'create' : this.#oneOf(kinds)
  }

  #event(kind: EventKind): RegisterMutation[][] {
    if (kind === 'repeat') return this.#written.length === 0 ? [] : [[this.#oneOf(this.#written)]]
    const item = kind === 'create' ? this.#below(this.#options.items) : this.#liveItem()
    const id = idOf(item)
    const version = ++this.#version
    if (kind === 'delete') {
      this.#live.delete(item)
      return [[itemRemoved(id, version)]]
    }
    this.#live.add(item)
    const attributes = attributesPut(id, version, this.#attributes(item))
    switch (kind) {
      case 'attributes':
        return [[attributes]]
      case 'create':
      case 'image':
        return [[attributes], [this.#objects(item, version)]]
      case 'failure':
        return [[attributes], [workFailed(id, version)]]
      case 'retried failure': {
        const end = this.#random() < 0.5 ? workFailed(id, version) : this.#objects(item, version)
        return [[attributes], [workFailed(id, version, true), end]]
      }
    }
  }

  #objects(item: number, version: number): RegisterMutation {
    const count = 1 + this.#below(this.#random() < 0.1 ? 9 : 3)
    const vectors = Array.from({ length: count }, (_, i) => this.#vectors.next(i === 0 ? item : this.#below(clusters)))
    return objectsPut(idOf(item), version, vectors)
  }

  #attributes(item: number): Partial<ItemAttributes> {
    return {
      category: this.#random() < 0.7 ? categories[(item % clusters) % categories.length]! : this.#oneOf(categories),
      price: this.#random() < 0.05 ? null : this.#below(100),
      regions: regions.filter(() => this.#random() < 0.5),
      available: this.#random() < 0.8,
      attributes: { colour: this.#oneOf(colours), ...(this.#random() < 0.5 ? { size: this.#below(5) } : {}) },
    }
  }

  #takeLate(): RegisterMutation[] {
    const at = this.#below(this.#late.length)
    const sequence = this.#late[at]!
    this.#late[at] = this.#late.at(-1)!
    this.#late.pop()
    return sequence
  }

  /** A repeated report that a failure is retried would put it behind that it was given up, under the same key. */
  #remember(mutations: readonly RegisterMutation[]): void {
    for (const mutation of mutations) {
      if (mutation.type === 'WorkFailed') continue
      if (this.#written.length < rememberedMutations) this.#written.push(mutation)
      else this.#written[this.#below(rememberedMutations)] = mutation
    }
  }

  #liveItem(): number {
    for (;;) {
      const item = this.#below(this.#options.items)
      if (this.#live.has(item)) return item
    }
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #oneOf<T>(values: readonly T[]): T {
    return values[this.#below(values.length)]!
  }
}

function idOf(item: number): ItemId {
  return parseItemId(`item-${item}`)
}
