import { Command } from 'commander'
import { FreshetError } from '../../schemas/errors.ts'
import type { Receipt } from '../../schemas/http-items.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { printable, renderTable } from './table.ts'
import type { Colors } from './terminal.ts'

interface ReceiptOptions extends ServerOptions {
  readonly wait?: boolean
}

export function receiptCommand(context: CommandContext): Command {
  const command = new Command('receipt')
    .summary('what became of a published event')
    .description('Tells what became of an event. Ends with 1 when its image work failed.')
    .argument('<receipt>', 'as it was returned when the event was published')
    .option('--wait', 'until it is searchable, removed, superseded or has failed')
  return asking(command, 'freshet receipt AXqRk0aM3gRPAAAAAAAEEQAAAZr2yvC4c29mYS0xN5nOQ1c --wait').action(
    async (receipt: string, options: ReceiptOptions) => {
      const client = clientFor(context, options)
      if (options.wait) await awaitReceipts(client, [receipt])
      const answer = await client.receipt(receipt)
      const lines = options.json
        ? [JSON.stringify(answer)]
        : renderReceipt(answer, context.terminal.colors, context.terminal.columns)
      for (const line of lines) context.terminal.print(line)
      context.exitWith(answer.status === 'failed' ? 1 : 0)
    },
  )
}

export function renderReceipt(receipt: Receipt, colors: Colors, width: number): readonly string[] {
  const { status, failure, itemId, version, partition, acceptedAtMs } = receipt
  const rows = receipt.generations.flatMap(({ generation, replicas }) =>
    replicas.map(replica => ({ generation, ...replica })),
  )
  const after = (atMs: number | null): string =>
    atMs === null ? '–' : `${((atMs - acceptedAtMs) / 1000).toFixed(2)} s`
  return [
    `${colored(status, colors)}  ${printable(itemId)} at version ${version} of partition ${partition}`,
    `accepted ${new Date(acceptedAtMs).toISOString()}${receipt.stale ? ', an older picture is searchable meanwhile' : ''}`,
    ...(failure === null
      ? []
      : [
          `${printable(failure.message)} (${failure.code})${failure.retryable ? ', tried again in the background' : ''}`,
        ]),
    ...renderTable(
      rows,
      [
        { name: 'generation', of: row => row.generation },
        { name: 'replica', of: row => row.replica },
        { name: 'status', of: row => row.status },
        { name: 'after', of: row => after(row.atMs), align: 'right' },
      ],
      width,
    ),
  ]
}

function colored(status: Receipt['status'], colors: Colors): string {
  switch (status) {
    case 'searchable':
    case 'removed':
      return colors.green(status)
    case 'failed':
      return colors.red(status)
    case 'accepted':
    case 'embedded':
    case 'superseded':
      return colors.yellow(status)
    default:
      throw new FreshetError('internal', `unknown status ${status satisfies never}`)
  }
}
