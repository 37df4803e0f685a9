import { Command } from 'commander'
import { type Codecs, openCodecs } from '../../schemas/avro/codec.ts'
import type { EventLog, TopicSpec } from '../../topologies/event-log.ts'
import type { AppliedTopic, AppliedTopics, TopicFinding } from '../topic-set-up.ts'
import { answering, type CommandContext } from './command-context.ts'
import { closingAfter, type ServerFlags, serverConfig, withBrokers } from './connections.ts'
import { printable, renderTable } from './table.ts'

interface TopicOptions extends ServerFlags {
  readonly json?: boolean
}

export function topicsCommand(context: CommandContext): Command {
  return new Command('topics')
    .summary('the topics on the brokers')
    .description('The topics on the brokers. On one machine the server keeps them itself.')
    .addCommand(checkCommand(context))
    .addCommand(applyCommand(context))
}

const example = (name: string): string =>
  `freshet topics ${name}\nfreshet topics ${name} --brokers kafka-1:9092,kafka-2:9092 --registry http://registry:8081`

function checkCommand(context: CommandContext): Command {
  const command = new Command('check').description(
    'Holds the topics on the brokers against the configuration and says what to do where they differ. Changes ' +
      'nothing. Ends with 1 when a topic is missing or differs.',
  )
  return answering(withBrokers(command), example('check')).action(async (options: TopicOptions) => {
    const { checkTopics } = await import('../topic-set-up.ts')
    const topics = await withTopics(context, options, ({ log, wanted }) => checkTopics(log, wanted))
    const { terminal } = context
    const lines = options.json ? [JSON.stringify({ topics })] : topicLines(topics, terminal.columns)
    for (const line of lines) terminal.print(line)
    context.exitWith(topics.every(({ state }) => state === 'fits') ? 0 : 1)
  })
}

function applyCommand(context: CommandContext): Command {
  const command = new Command('apply').description(
    'Creates the topics that are missing, sets durations that differ, and begins the catalog with its epoch markers. ' +
      'What else differs is for a person to decide, and ends it with 1. A repetition changes nothing.',
  )
  return answering(withBrokers(command), example('apply')).action(async (options: TopicOptions) => {
    const { applyTopics } = await import('../topic-set-up.ts')
    const applied = await withTopics(context, options, ({ log, wanted, codecs }) =>
      applyTopics(log, wanted, codecs.catalog),
    )
    const { terminal } = context
    const lines = options.json ? [JSON.stringify(applied)] : appliedLines(applied, terminal.columns)
    for (const line of lines) terminal.print(line)
    context.exitWith(applied.topics.some(({ state }) => state === 'differs') ? 1 : 0)
  })
}

interface Topics {
  readonly log: EventLog
  readonly codecs: Codecs
  readonly wanted: readonly TopicSpec[]
}

/** Schemas come first: the control topic tells the generations, and the markers of the catalog are records too. */
async function withTopics<T>(
  context: CommandContext,
  options: TopicOptions,
  use: (topics: Topics) => Promise<T>,
): Promise<T> {
  const { openConfluentRegistry, openKafkaLog } = await import('../log-and-registry.ts')
  const { wantedTopics } = await import('../topic-set-up.ts')
  const config = serverConfig(context, options)
  return closingAfter(await openConfluentRegistry(config.registry), async registry => {
    const codecs = await openCodecs(registry)
    return closingAfter(await openKafkaLog(config.kafka, { clientId: 'freshet-topics' }), async log =>
      use({ log, codecs, wanted: await wantedTopics(config, log, codecs.control) }),
    )
  })
}

function appliedLines({ topics, topicEpoch }: AppliedTopics, columns: number): readonly string[] {
  const end = topicEpoch === null ? 'The catalog got no epoch markers: it differs.' : `epoch ${topicEpoch}`
  return [...topicLines(topics, columns), '', end]
}

/** The table, and below it each difference with what to do. */
function topicLines(topics: readonly (TopicFinding | AppliedTopic)[], columns: number): readonly string[] {
  const table = renderTable(
    topics,
    [
      { name: 'topic', of: row => row.topic, flexible: true },
      { name: 'state', of: row => row.state },
    ],
    columns,
  )
  return [...table, ...topics.flatMap(differenceLines)]
}

function differenceLines({ topic, state, differences }: TopicFinding | AppliedTopic): readonly string[] {
  return differences.flatMap(({ setting, wanted, present, whatToDo }) =>
    state === 'changed'
      ? ['', printable(`${topic}: ${setting} was ${present}, is ${wanted} now`)]
      : ['', printable(`${topic}: ${setting} is ${present}, wanted is ${wanted}`), printable(`  ${whatToDo}`)],
  )
}
