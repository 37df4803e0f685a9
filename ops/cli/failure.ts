import { asFreshetError, errorCodes, type FreshetError } from '../../schemas/errors.ts'
import type { Terminal } from './terminal.ts'

/** Prints what went wrong, and what to do about it. */
export function printFailure(terminal: Terminal, thrown: unknown, json: boolean): void {
  const error = asFreshetError(thrown)
  if (json) terminal.print(JSON.stringify(error.toBody()))
  const { colors } = terminal
  terminal.note(`${colors.red('freshet:')} ${error.message} ${colors.dim(`(${error.code})`)}`)
  terminal.note(colors.dim(`  ${hintOf(error)}`))
}

function hintOf(error: FreshetError): string {
  if (isUnreachable(error)) return 'Start one with `npm start`, or name its address with --url.'
  return errorCodes[error.code].operator
}

/** No connection, as against a server that says it is not ready. */
function isUnreachable({ code, cause }: FreshetError): boolean {
  return code === 'not-ready' && cause instanceof TypeError
}
