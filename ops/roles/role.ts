import type { Logger } from 'pino'
import type { Closers } from '../closers.ts'
import type { Config } from '../config.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

export const roleNames = ['dispatch', 'work', 'shard', 'gateway'] as const
export type RoleName = (typeof roleNames)[number]

export interface RoleContext {
  readonly config: Config
  readonly log: Logger
  readonly telemetry: Telemetry
  /** Aborts when the process is told to end, also while it waits for servers. */
  readonly signal: AbortSignal
  /** Takes what drains and closes each part, in the other order. */
  readonly closers: Closers
}

/**
 * One of the processes of the distributed form. Resolves with where it listens, such as `http://127.0.0.1:7480`, when
 * it does its work or waits for what it needs to do so; closing what it gave to the closers drains it.
 * @throws FreshetError what will not pass, with the sentence to act on
 */
export type StartRole = (context: RoleContext) => Promise<string>

/** Wall clock, ms since 1970. */
export const clock = (): number => Date.now()
