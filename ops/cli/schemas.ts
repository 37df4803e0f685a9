import { Command } from 'commander'
import type { SchemaFinding } from '../schema-check.ts'
import { answering, type CommandContext } from './command-context.ts'
import { renderTable } from './table.ts'

export function schemasCommand(context: CommandContext): Command {
  return new Command('schemas')
    .summary('the Avro schemas of the topics')
    .description('The Avro schemas of the topics. A server registers them in its own registry when it starts.')
    .addCommand(checkCommand(context))
}

function checkCommand(context: CommandContext): Command {
  const command = new Command('check').description(
    'Checks that what this version writes fits every earlier version, both ways. Ends with 1 when it does not.',
  )
  return answering(command, 'freshet schemas check').action(async ({ json }: { readonly json?: boolean }) => {
    const { checkSchemas } = await import('../schema-check.ts')
    const findings = checkSchemas()
    const { terminal } = context
    const lines = json ? [JSON.stringify({ subjects: findings })] : findingLines(findings, terminal.columns)
    for (const line of lines) terminal.print(line)
    context.exitWith(findings.every(({ problems }) => problems.length === 0) ? 0 : 1)
  })
}

function findingLines(findings: readonly SchemaFinding[], columns: number): readonly string[] {
  return renderTable(
    findings,
    [
      { name: 'subject', of: row => row.subject },
      { name: 'versions', of: row => row.versions.join(', ') },
      { name: 'compatible', of: row => row.problems.join('; ') || 'yes', flexible: true },
    ],
    columns,
  )
}
