import { setImmediate as nextTurn } from 'node:timers/promises'
import { median, quantile } from '../figures.ts'

/** Query vectors one after another, asked round and round. */
export interface QuerySet {
  readonly vectors: Float32Array
  readonly dims: number
  readonly count: number
}

export function queryAt({ vectors, dims, count }: QuerySet, i: number): Float32Array {
  const at = (i % count) * dims
  return vectors.subarray(at, at + dims)
}

/** Answers one query; what it returns is not looked at. */
export type Search = (query: Float32Array, number: number) => unknown

/** What a time of searching in a closed loop showed. */
export interface SearchWindow {
  readonly qps: number
  readonly latenciesMs: readonly number[]
  /** User and system time of this process, all its threads. */
  readonly cpuMsPerQuery: number
}

/** Milliseconds for which a search that answers at once may keep the event loop. */
const turnMs = 2

/**
 * Searches for `ms` with `inFlight` queries always waiting for an answer: with one of them latency, with several what
 * the engine can do. Timers and messages of this process run meanwhile.
 */
export async function searchWindow(
  search: Search,
  queries: QuerySet,
  { ms, inFlight }: { readonly ms: number; readonly inFlight: number },
): Promise<SearchWindow> {
  const latenciesMs: number[] = []
  const cpuBefore = process.cpuUsage()
  const began = performance.now()
  let turnBegan = began
  let next = 0
  const client = async (): Promise<void> => {
    for (;;) {
      const asked = performance.now()
      if (asked - began >= ms) return
      await search(queryAt(queries, next), next++)
      const answered = performance.now()
      latenciesMs.push(answered - asked)
      if (answered - turnBegan > turnMs) {
        await nextTurn()
        turnBegan = performance.now()
      }
    }
  }
  await Promise.all(Array.from({ length: inFlight }, client))
  const seconds = (performance.now() - began) / 1_000
  const cpu = process.cpuUsage(cpuBefore)
  return {
    qps: latenciesMs.length / seconds,
    latenciesMs,
    cpuMsPerQuery: (cpu.user + cpu.system) / 1_000 / latenciesMs.length,
  }
}

/** Figures of two things measured in turn, and their ratio: the median of the ratios of the pairs. */
export interface Pairs {
  readonly first: readonly number[]
  readonly second: readonly number[]
  /** first ÷ second. */
  readonly ratio: number
}

/** Does two things in turn, each pair in the other order than the one before, so that a drift hits both. */
export async function inTurn<A, B>(
  pairs: number,
  doFirst: () => Promise<A>,
  doSecond: () => Promise<B>,
): Promise<{ readonly first: readonly A[]; readonly second: readonly B[] }> {
  const first: A[] = []
  const second: B[] = []
  for (let pair = 0; pair < pairs; pair++) {
    if (pair % 2 === 0) first.push(await doFirst())
    second.push(await doSecond())
    if (pair % 2 === 1) first.push(await doFirst())
  }
  return { first, second }
}

export async function interleaved(
  pairs: number,
  measureFirst: () => Promise<number>,
  measureSecond: () => Promise<number>,
): Promise<Pairs> {
  const { first, second } = await inTurn(pairs, measureFirst, measureSecond)
  return { first, second, ratio: medianRatio(first, second) }
}

export function medianRatio(first: readonly number[], second: readonly number[]): number {
  return median(first.map((value, i) => value / second[i]!))
}

/** Latency below which the share of the answers came, over all windows. */
export function latencyMs(windows: readonly SearchWindow[], share: number): number {
  return quantile(
    windows.flatMap(({ latenciesMs }) => latenciesMs),
    share,
  )
}
