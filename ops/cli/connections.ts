import type { Command } from 'commander'
import type { Config } from '../config.ts'
import type { CommandContext } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'

export interface ServerFlags extends ConfigFlags {
  readonly brokers?: string
  readonly registry?: string
}

/** The options of a command that talks to the brokers, and to the registry. */
export function withBrokers(command: Command): Command {
  return withRegistry(command).option('--brokers <addresses>', 'short for --set kafka.brokers=…')
}

/** The options of a command that talks to the registry. */
export function withRegistry(command: Command): Command {
  return configured(command).option('--registry <url>', 'short for --set registry.url=…')
}

/** @throws FreshetError `config-invalid` */
export function serverConfig(context: CommandContext, flags: ServerFlags): Config {
  const { brokers, registry, set = [] } = flags
  const shorts = Object.entries({ 'kafka.brokers': brokers, 'registry.url': registry })
  const given = shorts.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]))
  return configFrom(context, { ...flags, set: [...given, ...set] }).config
}

/** Closes what was opened, however its use ends. */
export async function closingAfter<Opened extends { close(): Promise<void> }, T>(
  opened: Opened,
  use: (opened: Opened) => Promise<T>,
): Promise<T> {
  try {
    return await use(opened)
  } finally {
    await opened.close()
  }
}
