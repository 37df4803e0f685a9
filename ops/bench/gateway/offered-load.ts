import { setTimeout as pause } from 'node:timers/promises'
import { randomBits } from '../shard/clustered-data.ts'

/** One request as its sender saw it. */
export interface Sent {
  /** 0 where no answer came. */
  readonly status: number
  /** From the begin of the window to when it was due. */
  readonly dueMs: number
  /** From when it was due to the end of its answer. */
  readonly tookMs: number
}

export interface LoadWindow {
  readonly sent: readonly Sent[]
  readonly ms: number
  /** Answered 200 within the window, a second. */
  readonly goodput: number
}

/** Resolves with the status of one request; never rejects. */
export type Send = () => Promise<number>

/** So many in flight, each sent when the one before it was answered. */
export async function closedWindow(send: Send, { inFlight, ms }: { readonly inFlight: number; readonly ms: number }) {
  const began = performance.now()
  const sent: Sent[] = []
  const one = async (): Promise<void> => {
    for (let at = performance.now(); at - began < ms; at = performance.now()) {
      const status = await send()
      sent.push({ status, dueMs: at - began, tookMs: performance.now() - at })
    }
  }
  await Promise.all(Array.from({ length: inFlight }, one))
  return windowOf(sent, ms)
}

/** Arrivals at random, sent when they are due whatever became of the others. */
export async function openWindow(
  send: Send,
  { rate, ms, seed }: { readonly rate: number; readonly ms: number; readonly seed: number },
): Promise<LoadWindow> {
  const random = randomBits(seed)
  const began = performance.now()
  const sent: Promise<Sent>[] = []
  let dueMs = 0
  for (;;) {
    dueMs += (-Math.log(1 - random() / 2 ** 32) / rate) * 1_000
    if (dueMs > ms) break
    const due = dueMs
    const waitMs = began + due - performance.now()
    if (waitMs > 0) await pause(waitMs)
    sent.push(send().then(status => ({ status, dueMs: due, tookMs: performance.now() - began - due })))
  }
  return windowOf(await Promise.all(sent), ms)
}

function windowOf(sent: readonly Sent[], ms: number): LoadWindow {
  const inTime = sent.filter(({ status, dueMs, tookMs }) => status === 200 && dueMs + tookMs <= ms)
  return { sent, ms, goodput: inTime.length / (ms / 1_000) }
}
