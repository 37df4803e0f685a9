import type { KeyRing } from './key-ring.ts'

/** Parts that may be served to those without a key. */
export const openableParts = ['page', 'pictures', 'metrics'] as const
export type OpenablePart = (typeof openableParts)[number]

export interface AccessOptions {
  /** Null: nobody is asked for a key. */
  readonly keys: KeyRing | null
  /** What needs no key where keys are asked for. Probes never do. */
  readonly open: readonly OpenablePart[]
  /** Of one key, or of one address where no keys are asked for; 0: no limit. A key's own limit goes first. */
  readonly requestsPerMinute: number
  /** Origins of other sites whose pages may call the API, such as `https://shop.example`; `*` is any. */
  readonly corsOrigins: readonly string[]
}

export const openAccess: AccessOptions = {
  keys: null,
  open: ['page', 'pictures'],
  requestsPerMinute: 0,
  corsOrigins: [],
}

/** Whether pages of the origin are among those that may call the API. */
export function allowsOrigin({ corsOrigins }: Pick<AccessOptions, 'corsOrigins'>, origin: string): boolean {
  return corsOrigins.includes('*') || corsOrigins.includes(origin)
}
