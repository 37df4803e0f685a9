import { subjects } from '../schemas/topics.ts'
import { redisKeeping } from '../topologies/redis/redis-keeping.ts'
import type { Config } from './config.ts'
import { redisAddress } from './distributed-storage.ts'
import type { Look } from './doctor.ts'
import { openConfluentRegistry, openKafkaLog } from './log-and-registry.ts'
import { checkTopics, topicSpecs } from './topic-set-up.ts'

/** Brokers that do not answer for so long are found to be away. */
const patienceMs = 10_000

/** Brokers, registry and Redis of the distributed form. What a look throws is a finding. */
export const serverChecks = {
  brokers: lookAtBrokers,
  registry: lookAtRegistry,
  redis: lookAtRedis,
} as const

async function lookAtBrokers(config: Config): Promise<Look> {
  const log = await openKafkaLog(config.kafka, { clientId: 'freshet-doctor', patienceMs })
  try {
    const topics = await checkTopics(log, topicSpecs(config))
    const unfit = topics.filter(({ state }) => state !== 'fits')
    const where = config.kafka.brokers.join(', ')
    if (unfit.length === 0) return { outcome: 'ok', found: `${where}: ${topics.length} topics fit`, advice: '' }
    const found = `${where}: ${unfit.map(({ topic, state }) => `${topic} ${state}`).join(', ')}`
    return { outcome: 'fail', found, advice: 'Run freshet topics check, and freshet topics apply.' }
  } finally {
    await log.close()
  }
}

async function lookAtRegistry(config: Config): Promise<Look> {
  const registry = await openConfluentRegistry(config.registry)
  try {
    const { length } = await registry.versions(subjects.catalog)
    const found = `${config.registry.url}: ${length} versions of ${subjects.catalog}`
    if (length > 0) return { outcome: 'ok', found, advice: '' }
    return { outcome: 'fail', found, advice: 'Run freshet schemas register.' }
  } finally {
    await registry.close()
  }
}

async function lookAtRedis(config: Config): Promise<Look> {
  const { version, policy, maxMemoryBytes, isAppendOnly } = await redisKeeping(await redisAddress(config.redis))
  const memory = maxMemoryBytes === null ? 'no bound of memory' : `at most ${Math.floor(maxMemoryBytes / 2 ** 20)} MiB`
  const found = `Redis ${version}, ${memory}, ${policy}, append-only file ${isAppendOnly ? 'on' : 'off'}`
  if (policy !== 'noeviction')
    return { outcome: 'fail', found, advice: 'Set maxmemory-policy noeviction: it would drop parts of jobs when full.' }
  if (isAppendOnly) return { outcome: 'ok', found, advice: '' }
  return {
    outcome: 'warn',
    found,
    advice: 'Set appendonly yes: after a restart of Redis all image work waits until it is overdue.',
  }
}
