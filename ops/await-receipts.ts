import { setTimeout as delay } from 'node:timers/promises'
import type { FreshetClient } from '../schemas/client.ts'
import type { Receipt } from '../schemas/http-items.ts'

export interface ReceiptProgress {
  readonly total: number
  /** Searchable, removed, superseded or failed. */
  readonly settled: number
  readonly failed: number
}

const askAgainMs = 100
const askedAtOnce = 4

/** Resolves when every event is searchable, removed, superseded or failed, with the failed ones in order. */
export async function awaitReceipts(
  client: FreshetClient,
  receipts: readonly string[],
  onProgress: (progress: ReceiptProgress) => void = () => {},
): Promise<readonly Receipt[]> {
  const failed = new Map<number, Receipt>()
  let next = 0
  let settled = 0
  const follow = async (): Promise<void> => {
    while (next < receipts.length) {
      const at = next++
      const receipt = await settledReceipt(client, receipts[at]!)
      if (receipt.status === 'failed') failed.set(at, receipt)
      settled++
      onProgress({ total: receipts.length, settled, failed: failed.size })
    }
  }
  await Promise.all(Array.from({ length: askedAtOnce }, follow))
  return [...failed].sort(([a], [b]) => a - b).map(([, receipt]) => receipt)
}

/** Events settle roughly in the order they were accepted, so that mostly the first answer is the last. */
async function settledReceipt(client: FreshetClient, receipt: string): Promise<Receipt> {
  for (;;) {
    const answer = await client.receipt(receipt)
    if (isSettled(answer)) return answer
    await delay(askAgainMs)
  }
}

/** The event got where it can get; a failed one may still be tried again in the background. */
export function isSettled({ status }: Receipt): boolean {
  return status !== 'accepted' && status !== 'embedded'
}
