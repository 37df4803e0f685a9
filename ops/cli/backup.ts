import { resolve } from 'node:path'
import { Command } from 'commander'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'

export function backupCommand(context: CommandContext): Command {
  const command = new Command('backup')
    .summary('copy the data directory of a running server')
    .description('Has the server copy its data directory while it serves; the copy is whole as of one moment.')
    .argument('<directory>', "on the server's machine; must be empty or not exist")
  return asking(command, 'freshet backup /var/backups/freshet-monday').action(
    async (directory: string, options: ServerOptions) => {
      const answer = await clientFor(context, options).backup(resolve(context.workingDir, directory))
      const size = `${(answer.bytes / 2 ** 20).toFixed(1)} MiB in ${(answer.tookMs / 1000).toFixed(1)} s`
      context.terminal.print(options.json ? JSON.stringify(answer) : `${answer.directory}: ${size}`)
    },
  )
}
