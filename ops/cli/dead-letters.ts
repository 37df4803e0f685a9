import { Command } from 'commander'
import type { FreshetClient } from '../../schemas/client.ts'
import type { DeadLetterSummary } from '../../schemas/http-operations.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { printable, renderTable } from './table.ts'

interface ManyOptions extends ServerOptions {
  readonly all?: boolean
}

export function deadLettersCommand(context: CommandContext): Command {
  return new Command('dead-letters')
    .summary('work that was given up: look, try again, drop')
    .description('What could not be processed, kept with its cause until it is tried again or dropped.')
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(redriveCommand(context))
    .addCommand(dropCommand(context))
}

function listCommand(context: CommandContext): Command {
  const command = new Command('list').description('Lists the dead letters.')
  return asking(command, 'freshet dead-letters list').action(async (options: ServerOptions) => {
    const letters = await allLetters(clientFor(context, options))
    const { terminal } = context
    if (options.json) return terminal.print(JSON.stringify({ deadLetters: letters }))
    if (letters.length === 0) return terminal.print('no dead letters')
    for (const line of letterLines(letters, terminal.columns)) terminal.print(line)
  })
}

function letterLines(letters: readonly DeadLetterSummary[], columns: number): readonly string[] {
  return renderTable(
    letters,
    [
      { name: 'id', of: letter => letter.id },
      { name: 'item', of: letter => letter.itemId ?? '–' },
      { name: 'stage', of: letter => letter.stage },
      { name: 'code', of: letter => letter.code },
      { name: 'attempts', of: letter => String(letter.attempts), align: 'right' },
      { name: 'when', of: letter => new Date(letter.failedAtMs).toISOString() },
      { name: 'message', of: letter => letter.message, flexible: true },
    ],
    columns,
  )
}

function showCommand(context: CommandContext): Command {
  const command = new Command('show').description('Shows one dead letter with all that is known.').argument('<id>')
  return asking(command, 'freshet dead-letters show 3-17').action(async (id: string, options: ServerOptions) => {
    const letter = await clientFor(context, options).deadLetter(id)
    if (options.json) return context.terminal.print(JSON.stringify(letter))
    for (const [name, value] of Object.entries(letter))
      context.terminal.print(
        `${name.padEnd(16)} ${printable(typeof value === 'string' ? value : JSON.stringify(value))}`,
      )
  })
}

function redriveCommand(context: CommandContext): Command {
  const command = new Command('redrive')
    .description('Tries dead letters again at their original version; dropped where a newer image or a delete exists.')
    .argument('[id...]')
    .option('--all', 'every dead letter that holds a job')
  return asking(command, 'freshet dead-letters redrive 3-17\nfreshet dead-letters redrive --all').action(
    async (ids: readonly string[], options: ManyOptions) => {
      const client = clientFor(context, options)
      const redrivable = async () => (await allLetters(client)).filter(letter => letter.redrivable)
      const chosen = options.all ? (await redrivable()).map(({ id }) => id) : named(command, ids)
      for (const id of chosen) {
        const answer = await client.redriveDeadLetter(id)
        context.terminal.print(options.json ? JSON.stringify(answer) : `${answer.redriven}  ${answer.outcome}`)
      }
    },
  )
}

function dropCommand(context: CommandContext): Command {
  const command = new Command('drop')
    .description('Drops dead letters: nothing will try them again.')
    .argument('[id...]')
    .option('--all', 'every dead letter')
  return asking(command, 'freshet dead-letters drop 3-17').action(
    async (ids: readonly string[], options: ManyOptions) => {
      const client = clientFor(context, options)
      const chosen = options.all ? (await allLetters(client)).map(({ id }) => id) : named(command, ids)
      for (const id of chosen) {
        const answer = await client.dropDeadLetter(id)
        context.terminal.print(options.json ? JSON.stringify(answer) : `dropped ${answer.dropped}`)
      }
    },
  )
}

function named(command: Command, ids: readonly string[]): readonly string[] {
  return ids.length > 0 ? ids : command.error('error: name a dead letter, or give --all', { exitCode: 2 })
}

async function allLetters(client: FreshetClient): Promise<readonly DeadLetterSummary[]> {
  const letters: DeadLetterSummary[] = []
  let after: string | null = null
  do {
    const page = await client.deadLetters({ limit: 1_000, ...(after === null ? {} : { after }) })
    letters.push(...page.deadLetters)
    after = page.next
  } while (after !== null)
  return letters
}
