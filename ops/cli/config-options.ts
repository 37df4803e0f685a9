import type { Command } from 'commander'
import { FreshetError } from '../../schemas/errors.ts'
import { type EffectiveConfig, loadConfig } from '../config.ts'
import type { CommandContext } from './command-context.ts'

export interface ConfigFlags {
  readonly config?: string
  readonly dataDir?: string
  readonly host?: string
  readonly port?: string
  readonly set?: readonly string[]
}

/** The options of every command that reads the configuration itself. */
export function configured(command: Command): Command {
  const gather = (value: string, before: readonly string[] = []): readonly string[] => [...before, value]
  return command
    .option('--config <file>', 'configuration file (default: FRESHET_CONFIG, else freshet.config.json if there is one)')
    .option('--data-dir <directory>', 'short for --set dataDir=…')
    .option('--host <address>', 'short for --set host=…')
    .option('--port <port>', 'short for --set port=…')
    .option('--set <key=value>', 'any option of `freshet config`; repeatable', gather)
}

/** @throws FreshetError `config-invalid` */
export function configFrom(context: CommandContext, flags: ConfigFlags): EffectiveConfig {
  const { environment, workingDir, cores } = context
  return loadConfig({
    environment,
    workingDir,
    machine: { cores },
    flags: { ...shorts(flags), ...Object.fromEntries((flags.set ?? []).map(assignment)) },
    ...(flags.config === undefined ? {} : { path: flags.config }),
  })
}

function shorts({ dataDir, host, port }: ConfigFlags): Record<string, string> {
  const given = Object.entries({ dataDir, host, port })
  return Object.fromEntries(given.flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])))
}

function assignment(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at <= 0) throw new FreshetError('config-invalid', `--set is key=value, not ${text}`)
  return [text.slice(0, at), text.slice(at + 1)]
}
