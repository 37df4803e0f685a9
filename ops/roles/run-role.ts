import type { Logger } from 'pino'
import type { Terminal } from '../cli/terminal.ts'
import { Closers } from '../closers.ts'
import type { Config } from '../config.ts'
import { nextSignal, within } from '../draining.ts'
import { openLogger } from '../logging.ts'
import { openTelemetry } from '../telemetry/telemetry.ts'
import { startDispatchRole } from './dispatch-role.ts'
import { startGatewayRole } from './gateway-role.ts'
import type { RoleName, StartRole } from './role.ts'
import { startShardRole } from './shard-role.ts'
import { startWorkRole } from './work-role.ts'

export interface RunRoleOptions {
  readonly json: boolean
  readonly terminal: Terminal
}

const starts: Readonly<Record<RoleName, StartRole>> = {
  dispatch: startDispatchRole,
  work: startWorkRole,
  shard: startShardRole,
  gateway: startGatewayRole,
}

/** Requests, jobs and a checkpoint take a few seconds at most; whatever hangs after this is given up. */
const drainWithinMs = 12_000

/**
 * `freshet dispatch | work | shard | gateway`: runs until SIGINT or SIGTERM, then drains; a second signal ends it at
 * once. Resolves with the exit code. @throws FreshetError what the role cannot start with
 */
export async function runRole(role: RoleName, config: Config, { json, terminal }: RunRoleOptions): Promise<number> {
  const logFormat = json ? 'json' : config.logFormat
  const log = openLogger({ ...config, logFormat }, line => process.stderr.write(line)).child({ role })
  const ending = new AbortController()
  const signalled = nextSignal().then(signal => {
    ending.abort()
    return signal
  })
  const closers = new Closers()
  try {
    const telemetry = await openTelemetry({ role, environment: process.env, log })
    closers.add(() => telemetry.close())
    const url = await starts[role]({ config, log, telemetry, signal: ending.signal, closers })
    announce(role, url, { json, terminal })
    const signal = await signalled
    if (!json) terminal.note(`\n  ${signal}: draining`)
  } catch (thrown) {
    const isDrained = await drained(closers, log)
    if (ending.signal.aborted) return isDrained ? 0 : 1
    throw thrown
  }
  const isDrained = await drained(closers, log)
  if (!isDrained)
    terminal.note('  not drained whole; what is not finished is done again by others, or at the next start')
  else if (!json) terminal.note('  drained')
  // A connection that is still being closed, or whatever hangs, would keep the process.
  return process.exit(isDrained ? 0 : 1)
}

/** False when it took too long or a part of it failed, which is logged. */
async function drained(closers: Closers, log: Logger): Promise<boolean> {
  try {
    return await within(drainWithinMs, closers.close())
  } catch (err) {
    log.error({ err }, 'a part did not close')
    return false
  }
}

function announce(role: RoleName, url: string, { json, terminal }: RunRoleOptions): void {
  if (json) {
    terminal.print(JSON.stringify({ role, url, pid: process.pid }))
    return
  }
  const { bold, cyan, dim } = terminal.colors
  const what = role === 'gateway' ? 'serves at' : 'runs; its probes and metrics are at'
  terminal.print(`\n  ${bold(`Freshet ${role}`)} ${what} ${cyan(url)}`)
  terminal.print(dim('  Ctrl-C drains and ends\n'))
}
