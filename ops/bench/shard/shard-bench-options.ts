import { FreshetError } from '../../../schemas/errors.ts'

/** What the command line may say of a shard bench. */
export interface ShardBenchOptions {
  readonly rows: number
  readonly seed: number
  readonly length: BenchLength
}

/**
 * `full`: what the goals are for. `quick`: shows that a bench works; its figures mean little. `smoke`: every step
 * once, for the tests.
 */
export type BenchLength = 'full' | 'quick' | 'smoke'

/** The data set: 200,000 × 256. */
export const defaultRows = 200_000
export const quickRows = 20_000
const fewestRows = 1_000

/** Words of the command line as options. @throws FreshetError `bad-request` */
export function parseShardBenchOptions(given: {
  readonly rows?: string
  readonly seed?: string
  readonly quick?: boolean
}): ShardBenchOptions {
  const length = given.quick === true ? 'quick' : 'full'
  const fallback = length === 'quick' ? quickRows : defaultRows
  return {
    rows: wholeNumber('--rows', given.rows, { fallback, least: fewestRows }),
    seed: wholeNumber('--seed', given.seed, { fallback: 1, least: 0 }),
    length,
  }
}

function wholeNumber(
  name: string,
  text: string | undefined,
  { fallback, least }: { readonly fallback: number; readonly least: number },
): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < least)
    throw new FreshetError('bad-request', `${name} is a whole number of at least ${least}, not ${text}`)
  return value
}
