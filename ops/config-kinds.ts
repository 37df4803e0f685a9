/** What an option's value may be. `read` takes JSON values and the text of environment and flags; undefined refuses. */
export interface Kind<T> {
  /** Completes "expected …". */
  readonly expected: string
  readonly read: (value: unknown) => T | undefined
}

export const text: Kind<string> = {
  expected: 'text',
  read: value => (typeof value === 'string' && value !== '' ? value : undefined),
}

/** A path, made absolute by the parser. */
export const path: Kind<string> = { expected: 'a path', read: text.read }

/** Paths; as text separated by commas. */
export const pathList: Kind<readonly string[]> = {
  expected: 'a list of paths',
  read: value => {
    const list = typeof value === 'string' ? value.split(',').filter(each => each !== '') : value
    return Array.isArray(list) && list.every(each => typeof each === 'string' && each !== '') ? list : undefined
  },
}

export const boolean: Kind<boolean> = {
  expected: 'true or false',
  read: value => {
    if (value === true || value === 'true') return true
    return value === false || value === 'false' ? false : undefined
  },
}

export function choice<const T extends string>(...values: readonly T[]): Kind<T> {
  return {
    expected: `one of ${values.join(', ')}`,
    read: value => values.find(each => each === value),
  }
}

export function count(min: number, max = Number.MAX_SAFE_INTEGER): Kind<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `${min} to ${max}`
  return { expected: `a whole number ${range}`, read: value => within(quantity(value, {}), min, max) }
}

/** Bytes; as text also with KiB, MiB, GiB. */
export function bytes(min: number): Kind<number> {
  const units = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }
  return {
    expected: `bytes, such as 20MiB, at least ${min}`,
    read: value => within(quantity(value, units), min, Number.MAX_SAFE_INTEGER),
  }
}

/** Milliseconds; as text also with ms, s, m, h, d. */
export function durationMs(min: number): Kind<number> {
  const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
  return {
    expected: `milliseconds, or such as 30s, at least ${min}`,
    read: value => within(quantity(value, units), min, Number.MAX_SAFE_INTEGER),
  }
}

function quantity(value: unknown, units: Readonly<Record<string, number>>): number | undefined {
  if (typeof value === 'number') return value
  const [, digits, unit] = (typeof value === 'string' && /^(\d+)([a-zA-Z]*)$/.exec(value)) || []
  if (digits === undefined) return undefined
  const factor = unit === '' ? 1 : units[unit!]
  return factor === undefined ? undefined : Number(digits) * factor
}

function within(value: number | undefined, min: number, max: number): number | undefined {
  return value !== undefined && Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined
}
