import { randomUUID } from 'node:crypto'
import { FreshetError } from '../schemas/errors.ts'
import type { ItemId, Offset, Partition } from '../schemas/ids.ts'
import type { CutReplica, CutTaken, ItemAtCut } from '../schemas/shard-api.ts'
import type { DigestCut } from './items/digest-cuts.ts'

interface ShardCutsOptions {
  readonly begin: (partition: Partition, offset: Offset) => DigestCut
  readonly end: (cut: DigestCut) => void
  readonly keepMs?: number
}

interface OpenCut {
  readonly cut: DigestCut
  readonly timer: NodeJS.Timeout
}

/** One asker needs two at a time; a cut notes down what changes, so that there shall not be many. */
const mostOpen = 16

/** The cuts of one replica that are open, by name. One that nobody ends is ended after a while. */
export class ShardCuts implements CutReplica {
  readonly #options: ShardCutsOptions
  readonly #keepMs: number
  readonly #open = new Map<string, OpenCut>()

  constructor(options: ShardCutsOptions) {
    this.#options = options
    this.#keepMs = options.keepMs ?? 120_000
  }

  async beginCut(partition: Partition, offset: Offset): Promise<CutTaken> {
    if (this.#open.size >= mostOpen)
      throw new FreshetError('overloaded', `${mostOpen} cuts are open already: end them, or wait`)
    const cut = this.#options.begin(partition, offset)
    const name = randomUUID()
    this.#open.set(name, { cut, timer: setTimeout(() => this.#close(name), this.#keepMs).unref() })
    return { cut: name, partition, offset, live: cut.live, buckets: cut.digests.buckets(), listed: cut.listed }
  }

  async cutItems(cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]> {
    return this.#named(cut).items(itemIds)
  }

  async cutBucket(cut: string, bucket: number): Promise<readonly ItemAtCut[]> {
    return this.#named(cut).bucket(bucket)
  }

  async endCut(cut: string): Promise<void> {
    this.#close(cut)
  }

  close(): void {
    for (const name of [...this.#open.keys()]) this.#close(name)
  }

  #named(name: string): DigestCut {
    const open = this.#open.get(name)
    if (open === undefined) throw new FreshetError('cut-ended', 'the cut is not open any more: take another')
    return open.cut
  }

  #close(name: string): void {
    const open = this.#open.get(name)
    if (open === undefined) return
    this.#open.delete(name)
    clearTimeout(open.timer)
    this.#options.end(open.cut)
  }
}
