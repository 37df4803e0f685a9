import { FreshetError } from '../../../schemas/errors.ts'

/** What the command line may say of a shard bench. */
export interface ShardBenchOptions {
  readonly rows: number
  readonly seed: number
  /** A short form that shows that the bench works; its figures mean little. */
  readonly quick: boolean
}

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
  const quick = given.quick === true
  return {
    rows: wholeNumber('--rows', given.rows, { fallback: quick ? quickRows : defaultRows, least: fewestRows }),
    seed: wholeNumber('--seed', given.seed, { fallback: 1, least: 0 }),
    quick,
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
