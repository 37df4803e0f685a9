import { hash } from 'node:crypto'
import type { Meter } from '@opentelemetry/api'
import { LRUCache } from 'lru-cache'
import type { Generation } from '../../schemas/ids.ts'
import type { ReplicaContent, ShardReplica, ShardSearchRequest } from '../../schemas/shard-api.ts'
import type { ShardRoute } from '../replica-roster.ts'
import type { FanoutAnswer } from '../shard-fanout.ts'
import { type CacheOutcome, countOutcomes } from './cache-metrics.ts'
import { LaterRuns } from './later-runs.ts'
import { SharedRuns } from './shared-runs.ts'

export interface CandidateCacheOptions {
  /** 0: nothing is kept, but those who ask the same at the same time still share a run. */
  readonly maxBytes: number
  readonly meter: Meter
}

export interface CandidateQuestion {
  readonly request: ShardSearchRequest
  readonly wanted: 'results' | 'candidates'
  readonly routes: readonly ShardRoute[]
  /** How long a run may take. Those who share a run share the time of the first. */
  readonly limitMs: number
}

interface Entry {
  readonly generation: Generation
  readonly answer: FanoutAnswer
  /** What all replicas held when it was asked for. */
  readonly content: string
}

const entryOverheadBytes = 1_000
const hitBytes = 700

/**
 * What the shards answered, for as long as nothing has been written to them since: an entry is used only while every
 * replica says of itself that it holds just what it held when the entry's search began. So an answer from here is what
 * the shards would say now, with a staleness of nothing at all, and what was deleted is in none; freshness is told as of
 * now. Replicas in other processes do not say what they hold without being asked, so nothing of theirs is kept.
 *
 * Those who ask the same at the same time share a run where nothing was written since it began. Where that is not known
 * they wait for the run's end and share the next: a run that began before a question may miss what was acknowledged in
 * between. Filters, generation and everything else that the shards go by are part of the key; whole answers alone are
 * kept.
 */
export class CandidateCache {
  readonly #entries: LRUCache<string, Entry> | null
  readonly #runs = new SharedRuns<FanoutAnswer>()
  readonly #laterRuns = new LaterRuns<FanoutAnswer>()
  readonly #names = new WeakMap<ShardReplica, number>()
  readonly #count: (outcome: CacheOutcome) => void
  #named = 0

  constructor({ maxBytes, meter }: CandidateCacheOptions) {
    const entries =
      maxBytes === 0
        ? null
        : new LRUCache<string, Entry>({
            maxSize: maxBytes,
            sizeCalculation: ({ answer }) => entryOverheadBytes + answer.hits.length * hitBytes,
          })
    this.#entries = entries
    this.#count = countOutcomes(meter, 'candidates', () => ({
      entries: entries?.size ?? 0,
      bytes: entries?.calculatedSize ?? 0,
    }))
  }

  /** Drops what is kept of a generation. */
  forget(generation: Generation): void {
    for (const [key, entry] of this.#entries?.entries() ?? [])
      if (entry.generation === generation) this.#entries?.delete(key)
  }

  /** @throws what `ask` throws; `timeout` when the signal fires first */
  async find(
    question: CandidateQuestion,
    signal: AbortSignal,
    ask: (signal: AbortSignal) => Promise<FanoutAnswer>,
  ): Promise<{ readonly answer: FanoutAnswer; readonly known: boolean }> {
    const key = keyOf(question)
    const runKey = `${question.limitMs} ${key}`
    const now = this.#contentOf(question.routes)
    if (now === null) {
      const { value, joined } = await this.#laterRuns.join(runKey, signal, ask)
      this.#count(joined ? 'shared' : 'unkept')
      return { answer: value, known: joined }
    }
    const held = this.#entries?.get(key)
    if (held !== undefined && held.content === now.text) {
      this.#count('hit')
      return { answer: { ...held.answer, ...freshnessOf(now.all) }, known: true }
    }
    const { value, joined } = await this.#runs.join(`${now.text} ${runKey}`, signal, async runSignal => {
      const answer = await ask(runSignal)
      const { generation } = question.request
      if (isWhole(answer)) this.#entries?.set(key, { generation, answer, content: now.text })
      return answer
    })
    this.#count(joined ? 'shared' : 'miss')
    return { answer: value, known: joined }
  }

  /** What all replicas hold now; null when one of them does not say, or none is there. */
  #contentOf(routes: readonly ShardRoute[]): HeldContent | null {
    const all: ReplicaContent[] = []
    const words: string[] = []
    for (const { replicas } of routes) {
      if (replicas.length === 0) return null
      for (const replica of replicas) {
        const content = replica.content?.()
        if (content === undefined || content === null) return null
        all.push(content)
        words.push(`${this.#nameOf(replica)}:${content.writes}`)
      }
    }
    return { all, text: words.join(' ') }
  }

  /** Of the object: one that was opened again under the same name counts its writes anew. */
  #nameOf(replica: ShardReplica): number {
    const known = this.#names.get(replica)
    if (known !== undefined) return known
    this.#names.set(replica, ++this.#named)
    return this.#named
  }
}

interface HeldContent {
  readonly all: readonly ReplicaContent[]
  readonly text: string
}

function isWhole({ coverage, degraded }: FanoutAnswer): boolean {
  return degraded.length === 0 && coverage.answered === coverage.total
}

function freshnessOf(all: readonly ReplicaContent[]): Pick<FanoutAnswer, 'indexAgeMs' | 'watermarks'> {
  return {
    indexAgeMs: Math.max(...all.map(({ indexAgeMs }) => indexAgeMs)),
    watermarks: Object.assign({}, ...all.map(({ watermarks }) => watermarks)),
  }
}

/** All that the answer depends on but for what the shards hold. */
function keyOf({ request, wanted }: CandidateQuestion): string {
  const { vector, ...others } = request
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)
  const digest = hash('sha256', bytes, 'base64')
  return `${digest} ${JSON.stringify([wanted, canonical(others)])}`
}

/** The same for objects whose fields are the same in another order. */
function canonical(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, each]) => [name, canonical(each)])
}
