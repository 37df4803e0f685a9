import { Command } from 'commander'
import type { Accepted } from '../../schemas/http-items.ts'
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
      const accepted: Accepted[] = []
      for (const id of ids) accepted.push(await client.delete(id))
      const receipts = accepted.map(({ receipt }) => receipt)
      if (options.wait) await awaitReceipts(client, receipts)
      for (const each of accepted) {
        const status = options.wait ? (await client.receipt(each.receipt)).status : 'accepted'
        const line = `${status}  ${printable(each.itemId)}  receipt ${each.receipt}`
        context.terminal.print(options.json ? JSON.stringify({ ...each, status }) : line)
      }
    },
  )
}
