import { catalogTopic } from '../../../schemas/topics.ts'
import { KafkaOperator } from './kafka-operator.ts'
import { recreated } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { until } from './until.ts'

export const epochFaults: readonly Scenario[] = [
  { name: 'topic-recreated', plan: recreated, isLast: true, run: recreateCatalog },
]

/**
 * Offsets of a topic that was created again mean nothing any more: dispatchers stop and say so, nothing is accepted
 * into a catalog that nobody indexes, and what was searchable stays so.
 */
async function recreateCatalog(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, load, oracle, problem } = context
  const { fleet, servers, client } = installation
  await load.flowing(500)
  await load.stop()
  for (const each of (await oracle.check()).problems) problem(`before: ${each}`)
  await new KafkaOperator(servers.kafka.brokers).deleteTopic(catalogTopic)
  await installation.command('topics', 'apply')
  const foundMs = await until('each dispatcher has stopped and says why', async () => {
    const probes = await Promise.all(fleet.names('dispatch').map(name => fleet.process(name).get('/healthz')))
    return probes.every(({ status, text }) => status >= 500 && /topic-epoch|topic-missing|offset-out/.test(text))
  })
  await until('the gateway says that the topic was created again', async () => {
    const { pipeline } = await client.status()
    return pipeline.alarms.some(({ code }) => code === 'topic-epoch')
  })
  const [item] = [...oracle.items.values()].filter(({ live }) => live !== null)
  const accepted = await client.delete(item!.itemId).then(
    () => 'accepted an event into the new topic',
    ({ code }: { readonly code?: string }) => (code === 'topic-epoch' ? null : `refused an event with ${code}`),
  )
  if (accepted !== null) problem(`the gateway ${accepted}`)
  for (const each of await oracle.compare()) problem(each)
  await restartRefused(context)
  return { done: 'the catalog topic was deleted and made again by `topics apply`', recoveryMs: foundMs }
}

const refusedWithinMs = 45_000

/** A dispatcher that starts on the new topic does not take it for the old one. */
async function restartRefused({ installation, problem, oracle }: FaultContext): Promise<void> {
  const { fleet } = installation
  const [name] = fleet.names('dispatch')
  await fleet.kill(name!)
  const started = await fleet.start(name!, { withinMs: refusedWithinMs }).then(
    () => 'became ready',
    (error: Error) => (/topic-epoch|another epoch|created again/.test(error.message) ? null : `said ${error.message}`),
  )
  if (started !== null) problem(`a dispatcher started on the new topic ${started}`)
  for (const each of await oracle.compare()) problem(`after that start: ${each}`)
}
