import { setTimeout as delay } from 'node:timers/promises'
import { FreshetClient } from '../../schemas/client.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { BulkLine } from '../../schemas/http-items.ts'
import type { Status } from '../../schemas/http-operations.ts'
import { seededRandom } from '../../shard-node/testing/seeded-random.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { untilStatus, withScratch } from '../bench/scratch.ts'
import { demoDirectory, demoItems } from '../demo-catalog.ts'
import { copyCatalog } from './copy-catalog.ts'
import { freePort, type ServerProcess, startServerProcess } from './server-process.ts'

export interface KillRunOptions {
  readonly events: number
  /** How often the server, and how often a model process, gets SIGKILL. */
  readonly serverKills: number
  readonly childKills: number
  readonly seed: number
  readonly onNote: (line: string) => void
}

export interface KillRunReport {
  readonly acknowledged: number
  /** Streams that broke off with lines sent and not acknowledged; those were sent again. */
  readonly interrupted: number
  readonly serverKills: number
  readonly childKills: number
  readonly liveItems: number
  readonly deletedItems: number
  readonly statuses: Readonly<Record<string, number>>
  /** Of all partitions, after the kills and of an undisturbed replay of the same catalog. */
  readonly digest: Digest
  readonly undisturbedDigest: Digest
  /** Broken promises, in words; empty when all is well. */
  readonly problems: readonly string[]
}

interface Digest {
  readonly set: string
  readonly objects: string
}

/** Decimal offsets by partition. */
type Watermarks = Readonly<Record<string, string>>

const partitions = 8
const itemCount = 600
/** What a kill takes on average, with the pause before it and the start after it. */
const msPerKill = 2_000

/**
 * Publishes random upserts, image changes, price changes and deletes while the server and its model processes are
 * killed at random moments, then holds every promise against what is there: each acknowledged event has come to its
 * end, each item is as its last event says, nothing deleted is returned, and the digests are those of a replay of the
 * same catalog that nobody disturbed.
 */
export async function killRun(options: KillRunOptions): Promise<KillRunReport> {
  return withScratch(directory => new KillRun(options, directory).run())
}

class KillRun {
  readonly #options: KillRunOptions
  readonly #directory: string
  readonly #random: () => number
  readonly #problems: string[] = []
  readonly #receipts: string[] = []
  #server: ServerProcess | null = null
  #port = 0
  #interrupted = 0
  #kills = { server: 0, child: 0 }

  constructor(options: KillRunOptions, directory: string) {
    this.#options = options
    this.#directory = directory
    this.#random = seededRandom(options.seed)
  }

  async run(): Promise<KillRunReport> {
    const lines = this.#makeLines()
    this.#port = await freePort()
    await this.#start()
    const client = new FreshetClient({ baseUrl: this.#server!.url })
    await Promise.all([this.#publish(client, lines), this.#killAtRandom(client)])
    this.#options.onNote('settling')
    await awaitReceipts(client, this.#receipts)
    const { watermark } = replicaOf(await untilSettled(client))
    const last = lastLines(lines)
    const statuses = await this.#checkReceipts(client)
    await this.#checkItems(client, last)
    await this.#checkSearches(client, last)
    const { digest } = replicaOf(await client.status())
    await this.#server!.stop()
    const undisturbedDigest = await this.#replay(watermark)
    if (digest.set !== undisturbedDigest.set) this.#problems.push('the set digests differ')
    if (digest.objects !== undisturbedDigest.objects) this.#problems.push('the objects digests differ')
    const liveItems = [...last.values()].filter(line => !('deleted' in line)).length
    return {
      acknowledged: this.#receipts.length,
      interrupted: this.#interrupted,
      serverKills: this.#kills.server,
      childKills: this.#kills.child,
      liveItems,
      deletedItems: last.size - liveItems,
      statuses,
      digest,
      undisturbedDigest,
      problems: this.#problems,
    }
  }

  #makeLines(): readonly BulkLine[] {
    const images = demoItems().map(({ images }) => images![0]!)
    const pick = <T>(from: readonly T[]): T => from[Math.floor(this.#random() * from.length)]!
    const state = new Map<string, { image: string; price: number }>()
    return Array.from({ length: this.#options.events }, (): BulkLine => {
      const itemId = itemName(Math.floor(this.#random() * itemCount))
      const chance = this.#random()
      const before = state.get(itemId)
      if (before && chance < 0.15) {
        state.delete(itemId)
        return { itemId, deleted: true }
      }
      const image = before && chance < 0.4 ? before.image : pick(images)
      const price = Math.floor(this.#random() * 100_000) / 100
      state.set(itemId, { image, price })
      return { itemId, title: `Item ${itemId}`, price, currency: 'EUR', images: [image] }
    })
  }

  async #start(): Promise<void> {
    this.#server = await startServerProcess({
      dataDir: `${this.#directory}/data`,
      port: this.#port,
      env: { FRESHET_IMAGE_ROOTS: demoDirectory, FRESHET_LOG_LEVEL: 'error', FRESHET_CHECKPOINT_EVERY_MS: '1500' },
    })
  }

  /** What was not acknowledged is sent again, in order: the last event of an item stays its last. */
  async #publish(client: FreshetClient, lines: readonly BulkLine[]): Promise<void> {
    while (this.#receipts.length < lines.length) {
      const from = this.#receipts.length
      let sent = from
      try {
        const stream = this.#pacedStream(lines, from, count => {
          sent = count
        })
        for await (const answer of client.bulk(stream)) {
          if ('error' in answer) throw new FreshetError(answer.error.code, answer.error.message)
          this.#receipts.push(answer.receipt)
        }
      } catch (thrown) {
        if (!(thrown instanceof FreshetError && thrown.retryable)) throw thrown
        const acknowledged = this.#receipts.length
        if (acknowledged > from && sent > acknowledged) this.#interrupted++
        await delay(20)
      }
    }
  }

  /** One open stream, about as long as the kills take, so that most of them find lines on their way. */
  async *#pacedStream(
    lines: readonly BulkLine[],
    from: number,
    onSent: (count: number) => void,
  ): AsyncGenerator<BulkLine> {
    const { serverKills, childKills } = this.#options
    const msPerLine = ((serverKills + childKills) * msPerKill) / lines.length
    const beganAt = performance.now()
    for (let next = from; next < lines.length; next++) {
      const dueAt = beganAt + (next - from) * msPerLine
      const earlyMs = dueAt - performance.now()
      if (earlyMs > 1) await delay(earlyMs)
      onSent(next + 1)
      yield lines[next]!
    }
  }

  async #killAtRandom(client: FreshetClient): Promise<void> {
    const { serverKills, childKills, onNote } = this.#options
    while (this.#kills.server < serverKills || this.#kills.child < childKills) {
      await delay(200 + this.#random() * 1_800)
      const left = { server: serverKills - this.#kills.server, child: childKills - this.#kills.child }
      if (this.#random() * (left.server + left.child) < left.server) {
        await this.#server!.kill()
        await this.#start()
        this.#kills.server++
      } else if (await killChild(client, this.#random())) this.#kills.child++
      onNote(
        `${this.#kills.server} server and ${this.#kills.child} model process kills, ${this.#receipts.length} acknowledged`,
      )
    }
  }

  /** Every acknowledged event has come to its end, and none failed: all pictures are good. */
  async #checkReceipts(client: FreshetClient): Promise<Readonly<Record<string, number>>> {
    const statuses: Record<string, number> = {}
    const good = new Set(['searchable', 'superseded', 'removed'])
    let next = 0
    const check = async (): Promise<void> => {
      while (next < this.#receipts.length) {
        const index = next++
        const { status, failure } = await client.receipt(this.#receipts[index]!)
        statuses[status] = (statuses[status] ?? 0) + 1
        if (!good.has(status)) this.#problems.push(`event ${index} is ${status} (${failure?.message ?? 'no reason'})`)
      }
    }
    await Promise.all([check(), check(), check(), check()])
    return statuses
  }

  async #checkItems(client: FreshetClient, last: ReadonlyMap<string, BulkLine>): Promise<void> {
    for (const [itemId, line] of last) {
      const item = await client.item(itemId).catch(thrown => {
        if (thrown instanceof FreshetError && thrown.code === 'item-not-found') return null
        throw thrown
      })
      if ('deleted' in line) {
        if (item !== null) this.#problems.push(`${itemId} is deleted, and was returned`)
      } else if (item === null) this.#problems.push(`${itemId} is lost`)
      else if ('price' in line && (item.price !== line.price || item.images[0] !== line.images?.[0]))
        this.#problems.push(`${itemId} is not as its last event says`)
    }
  }

  async #checkSearches(client: FreshetClient, last: ReadonlyMap<string, BulkLine>): Promise<void> {
    const live = [...last].filter(([, line]) => !('deleted' in line)).slice(0, 25)
    for (const [itemId] of live) {
      const { results, degraded } = await client.similar(itemId, { k: 200, rerank: false })
      if (degraded.length > 0) this.#problems.push(`a search was degraded: ${degraded.join(', ')}`)
      for (const hit of results) {
        const line = last.get(hit.itemId)
        if (line === undefined || 'deleted' in line) this.#problems.push(`a search returned the deleted ${hit.itemId}`)
      }
    }
  }

  async #replay(watermark: Watermarks): Promise<Digest> {
    this.#options.onNote('replaying the catalog undisturbed')
    const dataDir = `${this.#directory}/undisturbed`
    await copyCatalog(`${this.#directory}/data`, dataDir, partitions)
    const env = { FRESHET_IMAGE_ROOTS: demoDirectory, FRESHET_LOG_LEVEL: 'error' }
    const server = await startServerProcess({ dataDir, env })
    const client = new FreshetClient({ baseUrl: server.url })
    const status = await untilSettled(client, watermark)
    await server.stop()
    return replicaOf(status).digest
  }
}

/** Names that paths, keys and encodings could stumble over. */
function itemName(number: number): string {
  const shapes = [`item-${number}`, `shop/${number}/a b`, `möbel ${number} 🛋️`, `${'x'.repeat(100)}${number}`]
  return shapes[number % shapes.length]!
}

function lastLines(lines: readonly BulkLine[]): ReadonlyMap<string, BulkLine> {
  return new Map(lines.flatMap(line => ('itemId' in line ? [[line.itemId, line] as const] : [])))
}

/** False when the server is down or has no model process right now. */
async function killChild(client: FreshetClient, random: number): Promise<boolean> {
  const status = await client.status().catch(thrown => {
    if (thrown instanceof FreshetError && thrown.retryable) return null
    throw thrown
  })
  const running = status?.pipeline.processes.filter(({ state, pid }) => state === 'running' && pid !== null) ?? []
  const chosen = running[Math.floor(random * running.length)]
  if (!chosen) return false
  process.kill(chosen.pid!, 'SIGKILL')
  return true
}

/** Nothing is in the queue, no item waits, the index is not old, and what `watermark` vouches for is there. */
function untilSettled(client: FreshetClient, watermark: Watermarks = {}): Promise<Status> {
  return untilStatus(
    client,
    status =>
      status.ready &&
      status.items.pending === 0 &&
      status.indexAgeMs === 0 &&
      Object.values(status.pipeline.queue).every(jobs => jobs === 0) &&
      isPast(replicaOf(status).watermark, watermark),
    { withinMs: 600_000 },
  )
}

function isPast(reached: Watermarks, watermark: Watermarks): boolean {
  return Object.entries(watermark).every(([partition, offset]) => Number(reached[partition] ?? -1) >= Number(offset))
}

function replicaOf(status: Status): Status['shards'][number]['replicas'][number] {
  return status.shards[0]!.replicas[0]!
}
