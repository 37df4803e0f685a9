import type { Placed } from './item-table.ts'

/** Objects of an item that were current before a change. */
export interface ReplacedObjects extends Placed {
  readonly offset: number
}

interface Entry extends ReplacedObjects {
  readonly item: number
  /** Which replacement it was, counted from 1. */
  readonly sequence: number
}

/** Which objects were replaced since the views began that still last; nothing is kept while there are none. */
export class ReplacedObjectsLog {
  readonly #views = new Set<{ readonly since: number }>()
  /** In the order of replacement, and by item. */
  #entries: Entry[] = []
  readonly #byItem = new Map<number, Entry[]>()
  #sequence = 0

  begin(): { readonly since: number } {
    const view = { since: this.#sequence }
    this.#views.add(view)
    return view
  }

  end(view: { readonly since: number }): void {
    this.#views.delete(view)
    const [oldest] = this.#views
    const needed = this.#entries.findIndex(({ sequence }) => oldest !== undefined && sequence > oldest.since)
    for (const { item } of this.#entries.splice(0, needed === -1 ? this.#entries.length : needed)) this.#forget(item)
  }

  note(item: number, replaced: ReplacedObjects): void {
    if (this.#views.size === 0) return
    const entry = { ...replaced, item, sequence: ++this.#sequence }
    this.#entries.push(entry)
    const entries = this.#byItem.get(item)
    if (entries === undefined) this.#byItem.set(item, [entry])
    else entries.push(entry)
  }

  /** What was current when the view began; null when it still is. */
  find(item: number, view: { readonly since: number }): ReplacedObjects | null {
    return this.#byItem.get(item)?.find(({ sequence }) => sequence > view.since) ?? null
  }

  /** Lets go of the item's oldest entry. */
  #forget(item: number): void {
    const entries = this.#byItem.get(item)
    entries?.shift()
    if (entries?.length === 0) this.#byItem.delete(item)
  }
}
