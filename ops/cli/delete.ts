import { Command } from 'commander'
import { awaitReceipts } from '../await-receipts.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { printable } from './table.ts'

interface DeleteOptions extends ServerOptions {
  readonly wait?: boolean
}

export function deleteCommand(context: CommandContext): Command {
  const command = new Command('delete')
    .summary('delete items')
    .description('Deletes items. A deleted item is in no answer once its receipt says removed.')
    .argument('<id...>', 'item ids')
    .option('--wait', 'until no search returns them')
  return asking(command, 'freshet delete sofa-17 sofa-18 --wait').action(
    async (ids: readonly string[], options: DeleteOptions) => {
      const client = clientFor(context, options)
      const accepted = []
      for (const id of ids) accepted.push(await client.delete(id))
      if (options.wait)
        await awaitReceipts(
          client,
          accepted.map(({ receipt }) => receipt),
        )
      const done = options.wait ? 'removed' : 'accepted'
      for (const each of accepted) {
        if (options.json) context.terminal.print(JSON.stringify({ ...each, status: done }))
        else context.terminal.print(`${done}  ${printable(each.itemId)}  receipt ${each.receipt}`)
      }
    },
  )
}
