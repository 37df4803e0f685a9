import { randomBytes } from 'node:crypto'
import { Command, InvalidArgumentError, Option } from 'commander'
import {
  type ApiKey,
  keyBytes,
  keyDigest,
  keyFrom,
  keyLine,
  keyName,
  type Role,
  roles,
} from '../../query-gateway/access/api-key.ts'
import { appendKey, readKeyFile } from '../key-file.ts'
import { answering, type CommandContext } from './command-context.ts'
import { renderTable } from './table.ts'

interface NewKeyOptions {
  readonly role: Role
  readonly name: string
  readonly requestsPerMinute?: number
  readonly file?: string
  readonly json?: boolean
}

interface ListOptions {
  readonly json?: boolean
}

export function keyCommand(context: CommandContext): Command {
  return new Command('key')
    .summary('API keys: make one, list those of a file')
    .description('Keys of the HTTP API. A server holds their digests only: in access.keysFile, or in access.keys.')
    .addCommand(newCommand(context))
    .addCommand(listCommand(context))
}

function newCommand({ terminal }: CommandContext): Command {
  const command = new Command('new')
    .description('Makes a key and prints it, once, with the line by which a server knows it.')
    .addOption(new Option('--role <role>', 'what it may do').choices(roles).makeOptionMandatory())
    .requiredOption('--name <name>', 'who holds it; shown in messages and metrics', nameOf)
    .option('--requests-per-minute <count>', 'its own limit; 0: none (default: access.requestsPerMinute)', countOf)
    .option('--file <file>', 'add the line to this file; servers that use it take the key within seconds')
  const example = 'freshet key new --role read --name shop-web --file keys.txt'
  return answering(command, example).action(async (options: NewKeyOptions) => {
    const { role, name, requestsPerMinute = null, file } = options
    const key = keyFrom(randomBytes(keyBytes))
    const entry: ApiKey = { name, role, digest: keyDigest(key), requestsPerMinute }
    if (file !== undefined) await appendKey(file, entry)
    const line = keyLine(entry)
    if (options.json) return terminal.print(JSON.stringify({ key, line, name, role }))
    terminal.print(key)
    if (file !== undefined) terminal.note(`\n${name} is in ${file} with the role ${role}. The key is not shown again.`)
    else terminal.note(`\nThe key is not shown again. Its line, for access.keysFile or access.keys:\n\n${line}`)
  })
}

function listCommand({ terminal }: CommandContext): Command {
  const command = new Command('list')
    .description('Lists the keys of a file, without anything secret, and says which line is wrong.')
    .argument('<file>', 'file of keys')
  return answering(command, 'freshet key list keys.txt').action(async (file: string, options: ListOptions) => {
    const keys = await readKeyFile(file)
    const shown = keys.map(({ digest, ...rest }) => ({ ...rest, digest: digest.toString('hex').slice(0, 12) }))
    if (options.json) return terminal.print(JSON.stringify({ keys: shown }))
    const lines = renderTable(
      shown,
      [
        { name: 'name', of: row => row.name, flexible: true },
        { name: 'role', of: row => row.role },
        { name: 'requests/min', of: row => limitText(row.requestsPerMinute), align: 'right' },
        { name: 'digest', of: row => row.digest },
      ],
      terminal.columns,
    )
    for (const line of lines) terminal.print(line)
  })
}

function limitText(requestsPerMinute: number | null): string {
  if (requestsPerMinute === null) return 'as configured'
  return requestsPerMinute === 0 ? 'none' : String(requestsPerMinute)
}

function nameOf(text: string): string {
  if (keyName.test(text)) return text
  throw new InvalidArgumentError('a name is 1 to 64 of letters, digits, dot, dash and underscore')
}

function countOf(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('a whole number from 0')
}
