import { Command } from 'commander'
import type { Finding } from '../doctor.ts'
import { answering, type CommandContext } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'
import type { Colors } from './terminal.ts'

interface DoctorOptions extends ConfigFlags {
  readonly json?: boolean
  readonly servers?: boolean
}

export function doctorCommand(context: CommandContext): Command {
  const command = new Command('doctor')
    .summary('look whether this machine can run a server')
    .description('Checks what a server needs on this machine. Ends with 1 when something would stop it.')
    .option('--servers', 'look at the brokers, the schema registry and Redis of the distributed form too')
  return answering(configured(command), 'freshet doctor --data-dir /srv/freshet').action(
    async (options: DoctorOptions) => {
      const { diagnose } = await import('../doctor.ts')
      const { terminal, environment, cores } = context
      const { config } = configFrom(context, options)
      const findings: Finding[] = []
      const { servers = false } = options
      const patient = { config, environment, cores, servers, nodeVersion: process.version }
      for await (const finding of diagnose(patient)) {
        findings.push(finding)
        if (!options.json) terminal.print(renderFinding(finding, terminal.colors))
      }
      if (options.json) terminal.print(JSON.stringify({ findings }))
      context.exitWith(findings.some(({ outcome }) => outcome === 'fail') ? 1 : 0)
    },
  )
}

function renderFinding({ name, outcome, found, advice }: Finding, colors: Colors): string {
  const color = { ok: colors.green, warn: colors.yellow, fail: colors.red }[outcome]
  const line = `${color(outcome.padEnd(4))}  ${name.padEnd(15)} ${found}`
  return advice === '' ? line : `${line}\n${' '.repeat(22)}${advice}`
}
