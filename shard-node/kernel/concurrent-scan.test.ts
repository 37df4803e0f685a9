import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { seededRandom } from '../testing/seeded-random.ts'
import { columnsOf, createRowMemory, visibility } from './row-memory.ts'
import type { ScannedSnapshot, ScanThreadData } from './testing/scan-thread.ts'

const items = 1_024
const snapshots = 600
const changesPerSnapshot = 100

test('threads that scan while rows are appended and replaced find the rows of their snapshot, no other', async () => {
  const capacity = snapshots * changesPerSnapshot
  const handle = createRowMemory({ dims: 64, capacity, items, vectors: false, threads: 2 })
  const threads = await Promise.all([0, 1].map(thread => startThread({ handle, thread })))
  const owner = new ReplacingOwner(handle)
  const expected: Uint32Array[] = []
  for (let i = 0; i < snapshots; i++) {
    for (let change = 0; change < changesPerSnapshot; change++) owner.change()
    expected.push(owner.visibleRows())
    for (const { worker } of threads) worker.postMessage(owner.snapshot())
  }
  for (const { worker, found } of threads) {
    while (found.length < snapshots) await once(worker, 'message')
    expect(found).toEqual(expected)
    await worker.terminate()
  }
})

/** Puts rows of random items in the way that owners of row memory do, and knows which are visible. */
class ReplacingOwner {
  readonly #columns
  readonly #random = seededRandom(1)
  /** Current row of each item. */
  readonly #current = new Map<number, number>()
  readonly #hidden = new Set<number>()
  #rows = 0
  #sequence = 1

  constructor(handle: ScanThreadData['handle']) {
    this.#columns = columnsOf(handle)
  }

  /** Replaces an item's row by a new one, or hides it. */
  change(): void {
    const { items: itemColumn, codes, words } = this.#columns
    const item = Math.floor(this.#random() * items)
    const old = this.#current.get(item)
    const next = this.#sequence + 1
    if (old !== undefined && !this.#hidden.has(old) && this.#random() < 0.2) {
      words[old] = visibility.hiddenBit | next
      this.#hidden.add(old)
    } else {
      itemColumn[this.#rows] = item
      codes.fill(Math.floor(this.#random() * 256), this.#rows * 8, (this.#rows + 1) * 8)
      // A hidden row stays so: one word tells of one change.
      if (old !== undefined && !this.#hidden.has(old)) words[old] = next
      this.#current.set(item, this.#rows++)
    }
    this.#sequence = next
  }

  snapshot(): ScannedSnapshot {
    return { sequence: this.#sequence, rows: this.#rows }
  }

  visibleRows(): Uint32Array {
    return Uint32Array.from([...this.#current.values()].filter(row => !this.#hidden.has(row))).sort()
  }
}

async function startThread(data: ScanThreadData): Promise<{ readonly worker: Worker; readonly found: Uint32Array[] }> {
  const worker = new Worker(new URL('./testing/scan-thread.ts', import.meta.url), { workerData: data })
  await once(worker, 'message')
  const found: Uint32Array[] = []
  worker.on('message', (rows: Uint32Array) => found.push(rows))
  return { worker, found }
}
