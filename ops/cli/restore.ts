import { resolve } from 'node:path'
import { Command } from 'commander'
import { answering, type CommandContext } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'
import { startProgressBar } from './progress-bar.ts'

interface RestoreFlags extends ConfigFlags {
  readonly json?: boolean
}

const mebibyte = 2 ** 20

export function restoreCommand(context: CommandContext): Command {
  const command = new Command('restore')
    .summary('copy a backup into an empty data directory')
    .description('Copies a backup into an empty data directory, which no server may be using, and verifies its format.')
    .argument('<backup>', 'directory made by freshet backup')
  return answering(configured(command), 'freshet restore backup-1 --data-dir ./data-2').action(
    async (directory: string, flags: RestoreFlags) => {
      const { restoreBackup } = await import('../restore.ts')
      const { dataDir } = configFrom(context, flags).config
      const backup = resolve(context.workingDir, directory)
      let bar: ReturnType<typeof startProgressBar> | null = null
      const bytes = await restoreBackup({
        backup,
        dataDir,
        onProgress: (done, total) => {
          bar ??= startProgressBar(context.terminal, 'restored MiB', Math.ceil(total / mebibyte))
          bar.update(Math.ceil(done / mebibyte))
          if (done === total) bar.stop()
        },
      })
      const sentence = `${dataDir} holds ${(bytes / mebibyte).toFixed(1)} MiB from ${backup}`
      context.terminal.print(flags.json ? JSON.stringify({ dataDir, backup, bytes }) : sentence)
    },
  )
}
