import { userInfo } from 'node:os'
import type { CommandContext } from './command-context.ts'

/** Who decides where nobody else is named: the user of this shell. */
export function userName(environment: CommandContext['environment']): string {
  const { USER: named = '' } = environment
  return named === '' ? systemUser() : named
}

function systemUser(): string {
  try {
    return userInfo().username
  } catch {
    // A container may run as a user that has no name.
    return 'unnamed'
  }
}
