import { dot } from '../schemas/unit-vector.ts'
import type { Candidates, Segment } from './segment.ts'

/** The oracle: compares the query with every row in f32. The truth that approximate segments are measured against. */
export class ExactSegment implements Segment {
  readonly #rows: { readonly ordinal: number; readonly vector: Float32Array }[] = []

  get size(): number {
    return this.#rows.length
  }

  get memoryBytes(): number {
    return this.#rows.reduce((sum, row) => sum + row.vector.byteLength, 0)
  }

  add(ordinal: number, vector: Float32Array): void {
    this.#rows.push({ ordinal, vector: vector.slice() })
  }

  search(query: Float32Array, count: number): Candidates {
    const scored = this.#rows.map(row => ({ ordinal: row.ordinal, score: dot(query, row.vector) }))
    scored.sort((a, b) => b.score - a.score || a.ordinal - b.ordinal)
    const best = scored.slice(0, count)
    return { ordinals: best.map(row => row.ordinal), scores: best.map(row => row.score) }
  }

  release(): void {
    this.#rows.length = 0
  }
}
