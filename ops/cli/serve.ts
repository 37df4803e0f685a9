import { Command } from 'commander'
import type { Config } from '../config.ts'
import { demoDirectory } from '../demo-catalog.ts'
import { answering, type CommandContext } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'

interface ServeOptions extends ConfigFlags {
  readonly demo?: boolean
  readonly json?: boolean
}

export function serveCommand(context: CommandContext): Command {
  const command = new Command('serve')
    .summary('run all roles on this machine')
    .description('Serves until Ctrl-C, which drains and ends it. One server per data directory.')
    .option('--demo', 'publish the bundled furniture catalogue')
  return answering(configured(command), 'freshet serve --demo --data-dir ./data --port 7480').action(
    async (options: ServeOptions) => {
      // Loaded here, so that the other commands start without the server's libraries.
      const { runServe } = await import('../serve-command.ts')
      const { config } = configFrom(context, options)
      const demo = options.demo === true || config.demo
      const json = options.json === true || config.logFormat === 'json'
      context.exitWith(
        await runServe(demo ? withDemoImages(config) : config, { demo, json, terminal: context.terminal }),
      )
    },
  )
}

/** The demo's items name pictures in the repository. */
function withDemoImages(config: Config): Config {
  return { ...config, demo: true, imageRoots: [...config.imageRoots, demoDirectory] }
}
