import { FreshetClient } from '../schemas/client.ts'
import { asFreshetError } from '../schemas/errors.ts'
import { type ProgressBar, startProgressBar } from './cli/progress-bar.ts'
import type { Terminal } from './cli/terminal.ts'
import type { Config } from './config.ts'
import { loadDemo } from './demo-catalog.ts'
import { nextSignal, within } from './draining.ts'
import { openLogger } from './logging.ts'
import { type RunningServer, startServer } from './serve.ts'

export interface ServeCommandOptions {
  readonly demo: boolean
  readonly json: boolean
  readonly terminal: Terminal
}

/** Draining takes two or three seconds at most; whatever hangs after this is given up. */
const drainWithinMs = 4_500

/** `freshet serve`: runs until SIGINT or SIGTERM, then drains. Resolves with the exit code. */
export async function runServe(config: Config, { demo, json, terminal }: ServeCommandOptions): Promise<number> {
  const log = openLogger({ ...config, logFormat: json ? 'json' : config.logFormat }, line => process.stderr.write(line))
  const signalled = nextSignal()
  const server = await startServer(config, log)
  announce(server, config, { json, terminal })
  const loading = demo ? showDemo(server, terminal, json) : Promise.resolve()
  const signal = await signalled
  if (!json) terminal.note(`\n  ${signal}: draining`)
  const drained = await within(drainWithinMs, server.close())
  if (!drained) {
    terminal.note('  draining took too long; what is not finished runs again at the next start')
    // Whatever hangs would keep the process, and with it the lock on the data directory.
    process.exit(1)
  }
  await loading
  if (!json) terminal.note('  all work is stored; it goes on at the next start')
  return 0
}

function announce(server: RunningServer, config: Config, { json, terminal }: Omit<ServeCommandOptions, 'demo'>): void {
  if (json) {
    terminal.print(JSON.stringify({ url: server.url, pid: process.pid }))
    return
  }
  const { bold, cyan, dim } = terminal.colors
  terminal.print(`\n  ${bold('Freshet')} serves at ${cyan(server.url)}`)
  terminal.print(dim(`  data in ${config.dataDir} · Ctrl-C drains and ends\n`))
}

/** The demo catalogue becoming searchable. A server that drains meanwhile ends it; it goes on at the next start. */
async function showDemo(server: RunningServer, terminal: Terminal, json: boolean): Promise<void> {
  const { url, ownKey } = server
  const client = new FreshetClient({ baseUrl: url, ...(ownKey === null ? {} : { apiKey: ownKey }) })
  let bar: ProgressBar | null = null
  try {
    const { total, searchable, failed } = await loadDemo(client, progress => {
      if (json) return
      bar ??= startProgressBar(terminal, '  searchable', progress.total)
      bar.update(progress.searchable, progress.failed === 0 ? '' : `${progress.failed} failed`)
    })
    stopBar(bar)
    const troubles = failed === 0 ? '' : `, ${failed} failed: \`npx freshet dead-letters list\` tells why`
    if (!json) terminal.note(`  ${searchable} of ${total} products are searchable${troubles}; open ${server.url}`)
  } catch (thrown) {
    stopBar(bar)
    const error = asFreshetError(thrown)
    if (error.code !== 'not-ready') terminal.note(`  the demo catalogue could not be published: ${error.message}`)
  }
}

function stopBar(bar: ProgressBar | null): void {
  bar?.stop()
}
