import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import type { Heartbeat } from '../../schemas/heartbeat.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { errorOfAnswer } from '../../schemas/shard-wire.ts'
import type { RedriveOutcome } from '../../topologies/dispatch/dispatch-state.ts'
import { redrivePath } from './redrive-routes.ts'

export interface RemoteRedriveOptions {
  /** What dispatchers say of themselves. */
  readonly dispatchers: () => readonly Pick<Heartbeat, 'address' | 'generation' | 'partitions'>[]
  readonly codec: Pick<RecordCodec<DeadLetter>, 'encode'>
  readonly secret: string | null
}

const timeoutMs = 10_000
const outcomes: ReadonlySet<unknown> = new Set<RedriveOutcome>(['queued', 'superseded', 'done', 'foreign'])

/**
 * Has the dispatcher that owns the letter's partition run its job again.
 * @throws FreshetError `bad-request` for a letter without a job; `not-ready` while nobody is known to own it
 */
export async function redriveRemotely(letter: DeadLetter, options: RemoteRedriveOptions): Promise<RedriveOutcome> {
  const { job } = letter
  if (job === null)
    throw new FreshetError('bad-request', `the letter (${letter.code}) holds no image work: publish the item again`)
  const owner = options
    .dispatchers()
    .find(({ generation, partitions }) => generation === job.generation && partitions.includes(job.partition))
  if (owner === undefined)
    throw new FreshetError('not-ready', `no dispatcher of partition ${job.partition} of ${job.generation} is known now`)
  return ask(owner.address, letter, options)
}

async function ask(
  address: string,
  letter: DeadLetter,
  { codec, secret }: RemoteRedriveOptions,
): Promise<RedriveOutcome> {
  const request = {
    method: 'POST',
    headers: {
      'content-type': 'application/octet-stream',
      ...(secret === null ? {} : { authorization: `Bearer ${secret}` }),
    },
    body: Buffer.from(codec.encode(letter)),
    signal: AbortSignal.timeout(timeoutMs),
  }
  try {
    const response = await fetch(`${address}${redrivePath}`, request)
    const text = await response.text()
    if (!response.ok) throw errorOfAnswer(text)
    const { outcome } = JSON.parse(text) as { readonly outcome?: RedriveOutcome }
    if (outcome !== undefined && outcomes.has(outcome)) return outcome
    throw new FreshetError('internal', `the dispatcher at ${address} answers what is no outcome`)
  } catch (thrown) {
    if (thrown instanceof FreshetError) throw thrown
    const { message } = asFreshetError(thrown)
    throw new FreshetError('not-ready', `the dispatcher at ${address} does not answer: ${message}`, { cause: thrown })
  }
}
