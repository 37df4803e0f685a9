import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import type { FreshetClient } from '../../schemas/client.ts'
import { asFreshetError } from '../../schemas/errors.ts'
import type { Status } from '../../schemas/http-operations.ts'
import { asking, type CommandContext, clientFor, type ServerOptions, serverUrl } from './command-context.ts'
import { renderStatusPanel } from './status-panel.ts'

interface StatusOptions extends ServerOptions {
  readonly watch?: boolean
}

const everyMs = 1_000
const remembered = 40

export function statusCommand(context: CommandContext): Command {
  const command = new Command('status')
    .summary('items, freshness, shards and work of a server')
    .description('Shows the state of a server. Ends with 1 when it is not ready.')
    .option('--watch', 'look again every second until Ctrl-C')
  return asking(command, 'freshet status --watch').action(async (options: StatusOptions) => {
    const client = clientFor(context, options)
    if (options.watch) return watch(context, options, client)
    const status = await client.status()
    show(context, options, status, [])
    context.exitWith(status.ready ? 0 : 1)
  })
}

function show(
  context: CommandContext,
  options: StatusOptions,
  status: Status,
  pastIndexAgesMs: readonly number[],
): void {
  const { terminal } = context
  const lines = options.json ? [JSON.stringify(status)] : panel(context, options, status, pastIndexAgesMs)
  for (const line of lines) terminal.print(line)
}

function panel(
  context: CommandContext,
  options: StatusOptions,
  status: Status,
  pastIndexAgesMs: readonly number[],
): readonly string[] {
  const { columns, colors } = context.terminal
  return renderStatusPanel(status, { url: serverUrl(context, options), columns, colors, pastIndexAgesMs })
}

const hideCursor = '\x1b[?25l'
const showCursor = '\x1b[?25h'
const clearScreen = '\x1b[2J\x1b[H'
const home = '\x1b[H'
const clearLine = '\x1b[K'
const clearBelow = '\x1b[J'

/** A panel that redraws itself; a line a look where no person looks. A server that goes away is waited for. */
async function watch(context: CommandContext, options: StatusOptions, client: FreshetClient): Promise<void> {
  const { terminal, interrupted } = context
  const draws = terminal.isTty && !options.json
  const agesMs: number[] = []
  if (draws) terminal.draw(hideCursor + clearScreen)
  try {
    while (!interrupted.aborted) {
      const looked = await look(client)
      if ('status' in looked) {
        agesMs.push(looked.status.indexAgeMs)
        if (agesMs.length > remembered) agesMs.shift()
      }
      if (draws)
        terminal.draw(frame('status' in looked ? panel(context, options, looked.status, agesMs) : [looked.trouble]))
      else if ('status' in looked)
        terminal.print(options.json ? JSON.stringify(looked.status) : statusLine(looked.status))
      else terminal.note(looked.trouble)
      await pause(interrupted)
    }
  } finally {
    if (draws) terminal.draw(`${showCursor}\n`)
  }
}

const frame = (lines: readonly string[]): string =>
  home + lines.map(line => `${line}${clearLine}\n`).join('') + clearBelow

async function look(client: FreshetClient): Promise<{ readonly status: Status } | { readonly trouble: string }> {
  try {
    return { status: await client.status() }
  } catch (thrown) {
    const { retryable, message } = asFreshetError(thrown)
    if (!retryable) throw thrown
    return { trouble: `${message}; trying again` }
  }
}

function statusLine({ atMs, ready, items, indexAgeMs, pipeline }: Status): string {
  const { searchable, pending, failed, deleted } = items
  const counts = `searchable ${searchable} pending ${pending} failed ${failed} deleted ${deleted}`
  const state = ready ? 'ready' : 'not ready'
  return `${new Date(atMs).toISOString()} ${state} ${counts} indexAgeMs ${Math.round(indexAgeMs)} deadLetters ${pipeline.deadLetters}`
}

async function pause(interrupted: AbortSignal): Promise<void> {
  try {
    await delay(everyMs, undefined, { signal: interrupted })
  } catch (thrown) {
    if (!interrupted.aborted) throw thrown
  }
}
