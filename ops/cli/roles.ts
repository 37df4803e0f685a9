import { Command } from 'commander'
import type { Config, EffectiveConfig } from '../config.ts'
import type { RoleName } from '../roles/role.ts'
import { answering, type CommandContext } from './command-context.ts'
import { type ConfigFlags, configFrom, configured } from './config-options.ts'

interface RoleOptions extends ConfigFlags {
  readonly json?: boolean
}

interface ShardOptions extends RoleOptions {
  readonly shard?: string
  readonly replica?: string
}

const anyNumber = 'Any number of them may run. It needs the topics and schemas of `freshet topics apply` and'

export function dispatchCommand(context: CommandContext): Command {
  const command = roleCommand(
    'dispatch',
    'one process of the distributed form: events to jobs and mutations',
  ).description(
    `Dispatches the events of the catalog, as one of a group that shares its partitions. ${anyNumber} \`freshet schemas register\`.`,
  )
  return command.action((options: RoleOptions) => run(context, 'dispatch', options))
}

export function workCommand(context: CommandContext): Command {
  const command = roleCommand('work', 'one process of the distributed form: pictures to vectors').description(
    `Takes jobs from the queue, runs the models, publishes what they find. ${anyNumber} \`freshet schemas register\`.`,
  )
  return command.action((options: RoleOptions) => run(context, 'work', options))
}

export function shardCommand(context: CommandContext): Command {
  const command = roleCommand(
    'shard',
    'one process of the distributed form: a replica of a shard',
    '--shard 0 --replica b',
  )
    .description('Holds one replica of one shard, of each generation. Two replicas of a shard differ in --replica.')
    .option('--shard <number>', 'short for --set shard.number=…')
    .option('--replica <name>', 'short for --set shard.replica=…')
  return command.action(({ shard, replica, set = [], ...options }: ShardOptions) => {
    const shorts = Object.entries({ 'shard.number': shard, 'shard.replica': replica })
    const given = shorts.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]))
    return run(context, 'shard', { ...options, set: [...given, ...set] })
  })
}

export function gatewayCommand(context: CommandContext): Command {
  const command = roleCommand('gateway', 'one process of the distributed form: the API and the page').description(
    'Serves the HTTP API and the page over the shards, which it finds by their heartbeats. Any number of them may run.',
  )
  return command.action((options: RoleOptions) => run(context, 'gateway', options))
}

function roleCommand(role: RoleName, summary: string, example = ''): Command {
  const command = configured(new Command(role).summary(summary))
  return answering(command, `freshet ${role} ${example}`.trimEnd())
}

async function run(context: CommandContext, role: RoleName, options: RoleOptions): Promise<void> {
  // Loaded here, so that the other commands start without the servers' libraries.
  const { runRole } = await import('../roles/run-role.ts')
  const effective = configFrom(context, options)
  const json = options.json === true || effective.config.logFormat === 'json'
  context.exitWith(await runRole(role, forRole(role, effective), { json, terminal: context.terminal }))
}

/** Processes that find each other by heartbeats need no port that is known, so that several fit on one machine. */
function forRole(role: RoleName, { config, entries }: EffectiveConfig): Config {
  const isPortGiven = entries.some(({ key, origin }) => key === 'port' && origin !== 'default')
  return role === 'gateway' || isPortGiven ? config : { ...config, port: 0 }
}
