import { RedisConnection } from '../../../topologies/redis/redis-connection.ts'
import { freePort } from '../../../topologies/servers/free-ports.ts'
import { standard } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { until } from './until.ts'

export const redisFaults: readonly Scenario[] = [
  { name: 'redis-killed', plan: standard, run: killRedis },
  { name: 'redis-flushed', plan: standard, run: flushRedis },
  { name: 'redis-out-of-memory', plan: standard, run: fillRedis },
  { name: 'redis-read-only', plan: standard, run: demoteRedis },
]

/** Events accepted while Redis is of no use: they wait. */
const acceptedMeanwhile = 600

async function killRedis({ installation, load, recovered }: FaultContext): Promise<ScenarioOutcome> {
  const { redis } = installation.servers
  await load.flowing(200)
  await redis.kill()
  await load.flowing(acceptedMeanwhile)
  await redis.startAgain()
  const recoveryMs = await recovered()
  await load.flowing(100)
  return { done: `Redis was killed, away for ${acceptedMeanwhile} events, started again`, recoveryMs }
}

async function flushRedis(context: FaultContext): Promise<ScenarioOutcome> {
  const { load, recovered } = context
  const flushes = 3
  let recoveryMs = 0
  await withOperator(context, async command => {
    for (let flush = 1; flush <= flushes; flush++) {
      // Nobody takes jobs, so that there are some to be lost.
      await command('CLIENT', 'PAUSE', '2000', 'WRITE')
      await load.flowing(150)
      await command('CLIENT', 'UNPAUSE')
      await command('FLUSHALL')
      recoveryMs = Math.max(recoveryMs, await recovered())
    }
  })
  return { done: `FLUSHALL ${flushes} times`, recoveryMs }
}

async function fillRedis(context: FaultContext): Promise<ScenarioOutcome> {
  const { load, recovered } = context
  return withOperator(context, async command => {
    await load.flowing(200)
    await command('CONFIG', 'SET', 'maxmemory', '1kb')
    await load.flowing(acceptedMeanwhile)
    await untilTold(context, /memory/i)
    await command('CONFIG', 'SET', 'maxmemory', '512mb')
    const recoveryMs = await recovered()
    return { done: `Redis took no write for want of memory, for ${acceptedMeanwhile} events`, recoveryMs }
  })
}

async function demoteRedis(context: FaultContext): Promise<ScenarioOutcome> {
  const { load, recovered } = context
  return withOperator(context, async command => {
    await load.flowing(200)
    // The replica of a server that is not there: it keeps what it has and takes no write.
    await command('REPLICAOF', '127.0.0.1', String(await freePort()))
    await load.flowing(acceptedMeanwhile)
    await untilTold(context, /read.?only/i)
    await command('REPLICAOF', 'NO', 'ONE')
    const recoveryMs = await recovered()
    return { done: `Redis was made a read-only replica, for ${acceptedMeanwhile} events`, recoveryMs }
  })
}

/** Nothing degraded is silent: a dispatcher says in `/readyz` why it waits. */
async function untilTold({ installation }: FaultContext, why: RegExp): Promise<void> {
  const { fleet } = installation
  await until(`a dispatcher says ${why}`, async () => {
    const told = await Promise.all(fleet.names('dispatch').map(name => fleet.process(name).get('/readyz')))
    return told.some(({ status, text }) => status === 503 && why.test(text))
  })
}

type RedisCommand = (name: string, ...args: readonly string[]) => Promise<unknown>

async function withOperator<T>(
  { installation }: FaultContext,
  body: (command: RedisCommand) => Promise<T>,
): Promise<T> {
  const { url } = installation.servers.redis
  const connection = new RedisConnection({ url }, { unavailable: 'queue-unavailable' })
  try {
    return await body((name, ...args) => connection.run(redis => redis.call(name, ...args)))
  } finally {
    await connection.close()
  }
}
