import { setTimeout as delay } from 'node:timers/promises'
import { RedisConnection } from '../../../topologies/redis/redis-connection.ts'
import { standard } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { eachStandsStill } from './stand-still.ts'
import { until } from './until.ts'

export const dispatcherFaults: readonly Scenario[] = [
  { name: 'dispatcher-killed-before-enqueue', plan: standard, run: killBeforeEnqueue },
  { name: 'dispatcher-paused', plan: standard, run: pauseDispatcher },
  { name: 'rebalance-storm', plan: standard, run: stormGroup },
]

/**
 * While Redis holds back every write, a dispatcher has its image work in the item table and the window and waits for
 * the queue to take it: killed then, it dies between the two. Now and then the table was checkpointed before, now and
 * then not.
 */
async function killBeforeEnqueue(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, load, random, recovered } = context
  const { fleet, servers } = installation
  const dispatchers = fleet.names('dispatch')
  const rounds = 3
  let recoveryMs = 0
  const redis = new RedisConnection({ url: servers.redis.url }, { unavailable: 'queue-unavailable' })
  try {
    for (let round = 1; round <= rounds; round++) {
      await load.flowing(100)
      await redis.run(client => client.call('CLIENT', 'PAUSE', '60000', 'WRITE'))
      await until('image work waits in every partition', () => isWaiting(context))
      await delay(random() * 500)
      await Promise.all(dispatchers.map(name => fleet.kill(name)))
      await redis.run(client => client.call('CLIENT', 'UNPAUSE'))
      await fleet.startAll()
      recoveryMs = Math.max(recoveryMs, await recovered())
    }
  } finally {
    await redis.close()
  }
  return {
    done: `both dispatchers got SIGKILL with image work in the table that no queue had, ${rounds} times`,
    recoveryMs,
  }
}

/** Watermarks stand behind image work that no worker has done; attributes and deletes pass Redis by. */
async function isWaiting({ installation, load }: FaultContext): Promise<boolean> {
  const { watermark } = await installation.replicas().get('shard-a')!.status()
  return [...load.latest].every(([partition, offset]) => offset - (watermark[partition] ?? -1) > 10)
}

/** Longer than the group waits for a silent member, which is 10 s. */
const pausedMs = 15_000

async function pauseDispatcher(context: FaultContext): Promise<ScenarioOutcome> {
  // While one stands still, the other one has everything.
  const recoveryMs = await eachStandsStill(context, 'dispatch', pausedMs)
  return { done: `each dispatcher stood still for ${pausedMs / 1000} s and more`, recoveryMs }
}

async function stormGroup({ installation, load, random, recovered }: FaultContext): Promise<ScenarioOutcome> {
  const { fleet } = installation
  const [first, second] = fleet.names('dispatch') as [string, string]
  let changes = 0
  const comeAndGo = async (name: string, rounds: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      await fleet.stop(name)
      changes++
      await delay(random() * 300)
      await fleet.start(name)
      changes++
    }
  }
  await load.flowing(200)
  await Promise.all([comeAndGo(first, 5), comeAndGo(second, 5)])
  const recoveryMs = await recovered()
  await load.flowing(100)
  return { done: `dispatchers left and joined the group ${changes} times in quick succession`, recoveryMs }
}
