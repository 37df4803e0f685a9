import { Command } from 'commander'
import type { SchemaRegistry } from '../../topologies/schema-registry.ts'
import type { SchemaFinding } from '../schema-check.ts'
import type { RegisteredSubject, RegistryFinding } from '../schema-set-up.ts'
import { answering, type CommandContext } from './command-context.ts'
import { type ConfigFlags, configured } from './config-options.ts'
import { closingAfter, type ServerFlags, serverConfig, withRegistry } from './connections.ts'
import { printable, renderTable } from './table.ts'

export function schemasCommand(context: CommandContext): Command {
  return new Command('schemas')
    .summary('the Avro schemas of the topics')
    .description('The Avro schemas of the topics. On one machine the server registers them itself when it starts.')
    .addCommand(checkCommand(context))
    .addCommand(registerCommand(context))
}

interface CheckOptions extends ConfigFlags {
  readonly json?: boolean
  /** true: the address is that of the configuration. */
  readonly registry?: string | true
}

function checkCommand(context: CommandContext): Command {
  const command = configured(new Command('check'))
    .description(
      'Checks that what this version writes fits every earlier version, both ways; with --registry also every version ' +
        'in the registry. Changes nothing, so it can run for a pull request. Ends with 1 when something does not fit.',
    )
    .option('--registry [url]', 'check against the registry too: that of the configuration, or the one named')
  const example = 'freshet schemas check\nfreshet schemas check --registry http://registry:8081'
  return answering(command, example).action(async ({ registry, json, ...flags }: CheckOptions) => {
    const { checkSchemas } = await import('../schema-check.ts')
    const { checkRegistry } = await import('../schema-set-up.ts')
    const findings = checkSchemas()
    const address = typeof registry === 'string' ? { registry } : {}
    const inRegistry = registry === undefined ? [] : await atRegistry(context, { ...flags, ...address }, checkRegistry)
    const { terminal } = context
    const lines = json
      ? [JSON.stringify({ subjects: findings, ...(registry === undefined ? {} : { registry: inRegistry }) })]
      : [...findingLines(findings, terminal.columns), ...registryLines(inRegistry, terminal.columns)]
    for (const line of lines) terminal.print(line)
    const isGood = findings.every(({ problems }) => problems.length === 0) && !inRegistry.some(isIncompatible)
    context.exitWith(isGood ? 0 : 1)
  })
}

function registerCommand(context: CommandContext): Command {
  const command = withRegistry(new Command('register')).description(
    'Registers what this version writes, under FULL_TRANSITIVE compatibility: the step before the first process of a ' +
      'version starts. A repetition changes nothing. Where one schema does not fit, none is registered.',
  )
  const example = 'freshet schemas register\nfreshet schemas register --registry http://registry:8081'
  return answering(command, example).action(async ({ json, ...flags }: ServerFlags & { readonly json?: boolean }) => {
    const { checkRegistry, registerAll } = await import('../schema-set-up.ts')
    const { terminal } = context
    const { findings, registered } = await atRegistry(context, flags, async registry => {
      const found = await checkRegistry(registry)
      return { findings: found, registered: found.some(isIncompatible) ? null : await registerAll(registry, found) }
    })
    const answer = registered === null ? { registry: findings } : { registered }
    const lines = json ? [JSON.stringify(answer)] : registrationLines(findings, registered, terminal.columns)
    for (const line of lines) terminal.print(line)
    context.exitWith(registered === null ? 1 : 0)
  })
}

async function atRegistry<T>(
  context: CommandContext,
  flags: ServerFlags,
  use: (registry: SchemaRegistry) => Promise<T>,
): Promise<T> {
  const { openConfluentRegistry } = await import('../log-and-registry.ts')
  return closingAfter(await openConfluentRegistry(serverConfig(context, flags).registry), use)
}

const isIncompatible = ({ state }: RegistryFinding): boolean => state === 'incompatible'

function findingLines(findings: readonly SchemaFinding[], columns: number): readonly string[] {
  const table = renderTable(
    findings,
    [
      { name: 'subject', of: row => row.subject },
      { name: 'versions', of: row => row.versions.join(', ') },
      { name: 'compatible', of: row => (row.problems.length === 0 ? 'yes' : 'no') },
    ],
    columns,
  )
  return [...table, ...findings.flatMap(problemLines)]
}

function registryLines(findings: readonly RegistryFinding[], columns: number): readonly string[] {
  if (findings.length === 0) return []
  const table = renderTable(
    findings,
    [
      { name: 'subject', of: row => row.subject },
      { name: 'in the registry', of: standingOf },
    ],
    columns,
  )
  return ['', ...table, ...findings.flatMap(each => (each.state === 'incompatible' ? problemLines(each) : []))]
}

/** In full, below the table: a pull request is mended by them. */
function problemLines(finding: { readonly subject: string; readonly problems: readonly string[] }): readonly string[] {
  return finding.problems.map(problem => printable(`${finding.subject}: ${problem}`))
}

function standingOf(finding: RegistryFinding): string {
  switch (finding.state) {
    case 'known':
      return `version ${finding.version}, id ${finding.id}`
    case 'new':
      return 'not yet; fits'
    case 'incompatible':
      return 'does not fit'
  }
}

function registrationLines(
  findings: readonly RegistryFinding[],
  registered: readonly RegisteredSubject[] | null,
  columns: number,
): readonly string[] {
  if (registered === null) return [...registryLines(findings, columns), 'Nothing was registered.']
  return renderTable(
    registered,
    [
      { name: 'subject', of: row => row.subject },
      { name: 'version', of: row => String(row.version), align: 'right' },
      { name: 'id', of: row => String(row.id), align: 'right' },
      { name: 'state', of: row => row.state },
    ],
    columns,
  )
}
