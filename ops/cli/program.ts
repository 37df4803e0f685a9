import { Command, CommanderError } from 'commander'
import { backupCommand } from './backup.ts'
import { benchCommand } from './bench.ts'
import type { CommandContext } from './command-context.ts'
import { configCommand } from './config.ts'
import { deadLettersCommand } from './dead-letters.ts'
import { deleteCommand } from './delete.ts'
import { doctorCommand } from './doctor.ts'
import { evalCommand } from './eval.ts'
import { printFailure } from './failure.ts'
import { generationCommand, replayCommand } from './generation.ts'
import { keyCommand } from './key.ts'
import { modelCommand } from './model.ts'
import { publishCommand } from './publish.ts'
import { receiptCommand } from './receipt.ts'
import { restoreCommand } from './restore.ts'
import { dispatchCommand, gatewayCommand, shardCommand, workCommand } from './roles.ts'
import { schemasCommand } from './schemas.ts'
import { searchCommand } from './search.ts'
import { serveCommand } from './serve.ts'
import { snapshotCommand } from './snapshot.ts'
import { statusCommand } from './status.ts'
import { topicsCommand } from './topics.ts'

export const exitCodes = { done: 0, failed: 1, usage: 2 } as const

const exitCodeHelp = `
Exit codes:
  0  done
  1  the command failed, or what it looked at is not well (refused lines, failed work, not ready)
  2  the command line is wrong
`

/** Runs one command line, without the program's name, and tells its exit code. Never throws. */
export async function runCommandLine(
  commandLine: readonly string[],
  context: Omit<CommandContext, 'exitWith'> & { readonly version: string },
): Promise<number> {
  let exitCode: number = exitCodes.done
  const exitWith = (code: number): void => {
    exitCode = code
  }
  const program = buildProgram({ ...context, exitWith }, context.version)
  try {
    await program.parseAsync(commandLine, { from: 'user' })
    return exitCode
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.done : exitCodes.usage
    printFailure(context.terminal, thrown, commandLine.includes('--json'))
    return exitCodes.failed
  }
}

export function buildProgram(context: CommandContext, version: string): Command {
  const { terminal } = context
  const program = new Command('freshet')
    .description('A visual-search index that is never stale.')
    .version(version)
    .addHelpText('after', exitCodeHelp)
  const commands = [serveCommand, statusCommand, publishCommand, deleteCommand, searchCommand, receiptCommand]
  const operating = [
    deadLettersCommand,
    snapshotCommand,
    backupCommand,
    restoreCommand,
    modelCommand,
    generationCommand,
    replayCommand,
    topicsCommand,
    schemasCommand,
    keyCommand,
    configCommand,
    doctorCommand,
  ]
  const roles = [dispatchCommand, workCommand, shardCommand, gatewayCommand]
  const measuring = [evalCommand, benchCommand]
  for (const command of [...commands, ...operating, ...roles, ...measuring]) program.addCommand(command(context))
  forEachCommand(program, command =>
    command
      .exitOverride()
      .showHelpAfterError('(--help tells more)')
      .configureOutput({
        writeOut: text => terminal.print(text.replace(/\n$/, '')),
        writeErr: text => terminal.note(text.replace(/\n$/, '')),
        outputError: (text, write) => write(text.replace(/^error: /, 'freshet: ')),
        getOutHelpWidth: () => terminal.columns,
      }),
  )
  return program
}

function forEachCommand(command: Command, visit: (command: Command) => void): void {
  visit(command)
  for (const child of command.commands) forEachCommand(child, visit)
}
