import type { DeadLetter } from '../schemas/dead-letter.ts'
import type { DeadLetterDetail, DeadLetterSummary } from '../schemas/http-operations.ts'
import { parseItemId } from '../schemas/ids.ts'

export function deadLetterSummary(id: string, letter: DeadLetter): DeadLetterSummary {
  const { sourceTopic, sourcePartition, sourceOffset, generation, stage, code, message, attempts, failedAtMs } = letter
  return {
    id,
    itemId: letter.job?.itemId ?? itemIdIn(letter.key),
    sourceTopic,
    sourcePartition,
    sourceOffset: String(sourceOffset),
    generation,
    stage,
    code,
    message,
    attempts,
    failedAtMs,
    redrivable: letter.job !== null,
  }
}

export function deadLetterDetail(id: string, letter: DeadLetter): DeadLetterDetail {
  const { key, value, job, traceparent } = letter
  return {
    ...deadLetterSummary(id, letter),
    key: key && Buffer.from(key).toString('base64'),
    value: value && Buffer.from(value).toString('base64'),
    images: job?.images ?? [],
    traceparent,
  }
}

/** Records without a job may have any key; one that is an item id is shown as such. */
function itemIdIn(key: Uint8Array | null): string | null {
  if (key === null) return null
  try {
    return parseItemId(Buffer.from(key).toString('utf8'))
  } catch {
    return null
  }
}
