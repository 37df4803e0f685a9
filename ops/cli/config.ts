import { Command } from 'commander'
import type { ConfigEntry } from '../config.ts'
import { answering, type CommandContext } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'
import type { Colors } from './terminal.ts'

interface ConfigOptions extends ConfigFlags {
  readonly json?: boolean
  readonly markdown?: boolean
}

export function configCommand(context: CommandContext): Command {
  const command = new Command('config')
    .summary('every option: value, where it came from, what it means')
    .description('Prints the effective configuration: defaults, then file, then FRESHET_… variables, then flags.')
    .option('--markdown', 'the table of the README')
  return answering(configured(command), 'freshet config --set limits.imageBytes=5MiB').action(
    (options: ConfigOptions) => {
      const { entries } = configFrom(context, options)
      const { print, colors } = context.terminal
      if (options.json) print(JSON.stringify(entries))
      else if (options.markdown) for (const line of configMarkdown(entries)) print(line)
      else for (const entry of entries) print(describe(entry, colors))
    },
  )
}

function describe(
  { key, valueText, origin, environmentName, description, expected }: ConfigEntry,
  colors: Colors,
): string {
  const from = origin === 'default' ? colors.dim('default') : colors.yellow(origin)
  const head = `${colors.bold(key)} = ${valueText || colors.dim('(none)')}  ${from}`
  return `${head}\n  ${description}\n  ${colors.dim(`${environmentName}, ${expected}`)}\n`
}

/** The options with their defaults as the README shows them.  */
export function configMarkdown(entries: readonly ConfigEntry[]): readonly string[] {
  return [
    '| option | default | meaning |',
    '|---|---|---|',
    ...entries.map(({ key, defaultText, description }) => `| \`${key}\` | ${defaultText || 'none'} | ${description} |`),
  ]
}
