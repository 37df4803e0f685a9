import { mkdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { ReplicaStatus } from '../../../schemas/shard-api.ts'
import type { LiveRows } from './bench-index.ts'
import { BenchNode, type BenchNodeOptions } from './bench-node.ts'
import { collectGarbage, serveCalls } from './child-calls.ts'
import { type Paced, paced } from './paced.ts'
import type { Answers } from './recall.ts'
import { k, querySet } from './scene.ts'
import { queryAt, type SearchWindow, searchWindow } from './search-load.ts'

/** A shard node in a process of its own. */
class NodeProcess {
  node: BenchNode | null = null
  #writing: Paced | null = null

  /** Resolves when everything in the log is searchable and a search was answered. */
  async open(options: BenchNodeOptions): Promise<void> {
    mkdirSync(options.directory, { recursive: true })
    this.node = await BenchNode.open(options)
    if (options.firstUpsert > 0) await this.node.search(this.node.data.block(0, 1).vectors, k)
  }

  /** As fast as the log and the shard take it. */
  async upsert(count: number): Promise<void> {
    await this.node!.log.upsert(count)
    await this.node!.caughtUp()
  }

  /** Goes on in the background. */
  startUpserts(perSecond: number): void {
    let due = 0
    let running = false
    const append = async (): Promise<void> => {
      running = true
      for (; due > 0; ) {
        const some = due
        due = 0
        await this.node!.log.upsert(some)
      }
      running = false
    }
    this.#writing = paced(perSecond, () => {
      due++
      if (!running) void append()
    })
  }

  stopUpserts(): void {
    this.#writing?.stop()
  }

  caughtUp(): Promise<void> {
    return this.node!.caughtUp()
  }

  acknowledged(): number {
    return this.node!.log.acknowledged
  }

  /** Of these upserts, how many are not searched. */
  async missing(upserts: readonly number[]): Promise<number> {
    const held = await Promise.all(upserts.map(upsert => this.node!.holds(upsert)))
    return held.filter(isHeld => !isHeld).length
  }

  async answers(queries: number): Promise<Answers> {
    const set = querySet(this.node!.data, queries)
    const answers: Uint32Array[] = []
    for (let i = 0; i < queries; i++) answers.push(await this.node!.search(queryAt(set, i), k))
    return answers
  }

  window(options: { readonly ms: number; readonly inFlight: number }): Promise<SearchWindow> {
    const node = this.node!
    return searchWindow(query => node.search(query, k), querySet(node.data, 200), options)
  }

  /** Resolves when the segments have not changed for a while; with how long that took, the while not counted. */
  async settled(quietMs: number): Promise<number> {
    const began = performance.now()
    let changedAt = began
    for (let before = await this.#layout(); performance.now() - changedAt < quietMs; ) {
      await delay(100)
      const layout = await this.#layout()
      if (layout !== before) changedAt = performance.now()
      before = layout
    }
    collectGarbage()
    return (changedAt - began) / 1_000
  }

  status(): Promise<ReplicaStatus> {
    return this.node!.node.status()
  }

  liveRows(): LiveRows {
    return this.node!.liveRows()
  }

  diskBytes(): number {
    return this.node!.diskBytes()
  }

  close(): Promise<void> {
    return this.node!.close()
  }

  async #layout(): Promise<string> {
    const { rows, tombstones, segments, storage, checkpoint } = await this.node!.node.status()
    return JSON.stringify([rows, tombstones, segments, storage, checkpoint, this.node!.diskBytes()])
  }
}

export type { NodeProcess }

serveCalls(new NodeProcess())
