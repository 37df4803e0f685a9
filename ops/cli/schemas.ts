import { Command } from 'commander'
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
    const columns = [
      { name: 'subject', of: (row: (typeof findings)[number]) => row.subject },
      { name: 'versions', of: (row: (typeof findings)[number]) => row.versions.join(', ') },
      { name: 'compatible', of: (row: (typeof findings)[number]) => row.problems.join('; ') || 'yes', flexible: true },
    ]
    const { terminal } = context
    const lines = json ? [JSON.stringify({ subjects: findings })] : renderTable(findings, columns, terminal.columns)
    for (const line of lines) terminal.print(line)
    context.exitWith(findings.every(({ problems }) => problems.length === 0) ? 0 : 1)
  })
}
