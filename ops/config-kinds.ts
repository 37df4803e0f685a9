/** What an option's value may be. `read` takes JSON values and the text of environment and flags; undefined refuses. */
export interface Kind<T> {
  /** Completes "expected …". */
  readonly expected: string
  readonly read: (value: unknown) => T | undefined
  /** As a person would write it; `read` takes it back, unless a part of it is secret. */
  readonly show: (value: T) => string
  /** What may be printed and logged of a value that is or holds a secret; all of it where this is absent. */
  readonly reveal?: (value: T) => unknown
  /** Makes the paths in it absolute. */
  readonly locate?: (value: T, absolute: (path: string) => string) => T
}

export const text: Kind<string> = {
  expected: 'text',
  show: value => value,
  read: value => (typeof value === 'string' && value !== '' ? value : undefined),
}

/** A short name, fit for files and keys. */
export const name: Kind<string> = {
  expected: 'a name of 1 to 20 of a-z, 0-9 and -',
  show: value => value,
  read: value => (typeof value === 'string' && /^[a-z0-9-]{1,20}$/.test(value) ? value : undefined),
}

/** A path, made absolute by the parser. */
export const path: Kind<string> = {
  ...text,
  expected: 'a path',
  locate: (value, absolute) => absolute(value),
}

/** As text separated by commas. */
export const textList: Kind<readonly string[]> = {
  expected: 'a list of texts',
  show: value => value.join(','),
  read: value => {
    const list = typeof value === 'string' ? value.split(',').filter(each => each !== '') : value
    return Array.isArray(list) && list.every(each => typeof each === 'string' && each !== '') ? list : undefined
  },
}

/** Paths; as text separated by commas. */
export const pathList: Kind<readonly string[]> = {
  ...textList,
  expected: 'a list of paths',
  locate: (value, absolute) => value.map(absolute),
}

/** Never printed. */
export const secret: Kind<string> = { ...text, expected: 'a secret text', show: () => hidden, reveal: () => hidden }

/** Texts separated by commas, never printed. */
export const secretList: Kind<readonly string[]> = {
  ...textList,
  expected: 'a list of secret texts',
  show: value => (value.length === 0 ? '' : hidden),
  reveal: value => (value.length === 0 ? [] : hidden),
}

/** An address of one of the protocols, given as `http:` and the like. A password in it is never printed. */
export function url(...protocols: readonly string[]): Kind<string> {
  return {
    expected: `an address with ${protocols.join(' or ')}`,
    show: withoutPassword,
    reveal: withoutPassword,
    read: value => {
      const parsed = typeof value === 'string' ? URL.parse(value) : null
      return parsed !== null && protocols.includes(parsed.protocol) ? (value as string) : undefined
    },
  }
}

/** Nothing, which is null, or empty text. */
export function optional<T>(kind: Kind<T>): Kind<T | null> {
  const { show, read, reveal, locate } = kind
  const ifGiven =
    <A extends readonly unknown[], R>(of: (value: T, ...rest: A) => R) =>
    (value: T | null, ...rest: A): R | null =>
      value === null ? null : of(value, ...rest)
  return {
    expected: `${kind.expected}, or nothing`,
    show: value => (value === null ? '' : show(value)),
    read: value => (value === null || value === '' ? null : read(value)),
    ...(reveal === undefined ? {} : { reveal: ifGiven(reveal) }),
    ...(locate === undefined ? {} : { locate: ifGiven(locate) }),
  }
}

const hidden = '(set)'

function withoutPassword(value: string): string {
  const parsed = new URL(value)
  if (parsed.password === '') return value
  parsed.password = '***'
  return parsed.href
}

export const boolean: Kind<boolean> = {
  expected: 'true or false',
  show: String,
  read: value => {
    if (value === true || value === 'true') return true
    return value === false || value === 'false' ? false : undefined
  },
}

export function choice<const T extends string>(...values: readonly T[]): Kind<T> {
  return {
    expected: `one of ${values.join(', ')}`,
    show: value => value,
    read: value => values.find(each => each === value),
  }
}

/** Any of the words, as text separated by commas; none of them is written as a word of its own. */
export function choices<const T extends string>(...values: readonly T[]): Kind<readonly T[]> {
  return {
    expected: `a list of ${values.join(', ')}, or ${nothing}`,
    show: value => (value.length === 0 ? nothing : value.join(',')),
    read: value => {
      const list = value === nothing ? [] : textList.read(value)
      return list?.every((each): each is T => (values as readonly string[]).includes(each)) ? list : undefined
    },
  }
}

const nothing = 'nothing'

/** Port numbers; as text separated by commas. */
export const ports: Kind<readonly number[]> = {
  expected: 'a list of ports from 1 to 65535',
  show: value => value.join(','),
  read: value => {
    const list =
      typeof value === 'string' ? value.split(',').map(each => (/^\d+$/.test(each) ? Number(each) : NaN)) : value
    const isPort = (each: unknown): each is number =>
      Number.isInteger(each) && Number(each) >= 1 && Number(each) <= 65_535
    return Array.isArray(list) && list.length > 0 && list.every(isPort) ? list : undefined
  },
}

export function count(min: number, max = Number.MAX_SAFE_INTEGER): Kind<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min}` : `${min} to ${max}`
  return quantity(`a whole number ${range}`, { min, max, units: {} })
}

/** Bytes; as text also with KiB, MiB, GiB. */
export function bytes(min: number): Kind<number> {
  const units = { GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10 }
  return quantity(`bytes, such as 20MiB, at least ${min}`, { min, max: Number.MAX_SAFE_INTEGER, units })
}

/** Milliseconds; as text also with ms, s, m, h, d. */
export function durationMs(min: number): Kind<number> {
  const units = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 }
  return quantity(`milliseconds, or such as 30s, at least ${min}`, { min, max: Number.MAX_SAFE_INTEGER, units })
}

interface Quantity {
  readonly min: number
  readonly max: number
  /** Factors by name, the largest first. */
  readonly units: Readonly<Record<string, number>>
}

function quantity(expected: string, { min, max, units }: Quantity): Kind<number> {
  const inRange = (value: number): boolean => Number.isSafeInteger(value) && value >= min && value <= max
  return {
    expected,
    read: value => {
      const amount = typeof value === 'number' ? value : amountOf(value, units)
      return amount !== undefined && inRange(amount) ? amount : undefined
    },
    show: value => {
      const unit = Object.entries(units).find(([, factor]) => value !== 0 && value % factor === 0)
      return unit === undefined ? String(value) : `${value / unit[1]}${unit[0]}`
    },
  }
}

function amountOf(value: unknown, units: Quantity['units']): number | undefined {
  const [, digits, unit] = (typeof value === 'string' && /^(\d+)([a-zA-Z]*)$/.exec(value)) || []
  if (digits === undefined) return undefined
  const factor = unit === '' ? 1 : units[unit!]
  return factor === undefined ? undefined : Number(digits) * factor
}
