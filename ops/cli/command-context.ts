import { type Command, Option } from 'commander'
import { FreshetClient } from '../../schemas/client.ts'
import { type Config, type ConfigSources, loadConfig } from '../config.ts'
import type { Terminal } from './terminal.ts'

/** What commands get from the process, so that tests can give something else. */
export interface CommandContext {
  readonly terminal: Terminal
  readonly environment: ConfigSources['environment']
  readonly workingDir: string
  readonly cores: number
  /** Aborted by Ctrl-C: a command that watches ends well. */
  readonly interrupted: AbortSignal
  /** The exit code of a command that came to its end: 0 when never called. */
  exitWith(code: number): void
}

export interface ServerOptions {
  readonly url?: string
  readonly json?: boolean
}

/** A command that prints an answer. The example closes its help. */
export function answering(command: Command, example: string): Command {
  return command
    .option('--json', 'print JSON, for programs')
    .addHelpText('after', `\nExample:\n  ${example.replaceAll('\n', '\n  ')}`)
}

/** A command that asks a running server. */
export function asking(command: Command, example: string): Command {
  const url = new Option(
    '--url <url>',
    'address of the server (default: FRESHET_URL, else host and port of the configuration)',
  )
  return answering(command.addOption(url), example)
}

/** Shows the key in FRESHET_API_KEY; not an option, since other users see command lines. */
export function clientFor(context: CommandContext, options: ServerOptions): FreshetClient {
  const { FRESHET_API_KEY: apiKey = '' } = context.environment
  return new FreshetClient({ baseUrl: serverUrl(context, options), ...(apiKey === '' ? {} : { apiKey }) })
}

export function serverUrl({ environment, workingDir, cores }: CommandContext, { url }: ServerOptions): string {
  const named = url ?? environment.FRESHET_URL
  if (named !== undefined && named !== '') return named.replace(/\/+$/, '')
  return listeningUrl(loadConfig({ environment, workingDir, machine: { cores }, flags: {} }).config)
}

/** Where a server of this configuration listens. */
export function listeningUrl({ host, port }: Pick<Config, 'host' | 'port'>): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}
