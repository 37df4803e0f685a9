import { openCodecs } from '../schemas/avro/codec.ts'
import { subjects } from '../schemas/topics.ts'
import { ControlLog } from '../topologies/control/control-log.ts'
import type { GenerationStatus } from '../topologies/control/control-state.ts'
import { redisKeeping } from '../topologies/redis/redis-keeping.ts'
import type { Config } from './config.ts'
import { redisAddress } from './distributed-storage.ts'
import type { Look } from './doctor.ts'
import { modelIdentity } from './image-roles.ts'
import { openConfluentRegistry, openKafkaLog } from './log-and-registry.ts'
import { checkTopics, mutationTopicSpec, topicSpecs } from './topic-set-up.ts'

/** Brokers that do not answer for so long are found to be away. */
const patienceMs = 10_000

/** Brokers, registry and Redis of the distributed form. What a look throws is a finding. */
export const serverChecks = {
  brokers: lookAtBrokers,
  registry: lookAtRegistry,
  generations: lookAtGenerations,
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

/** Whether the topics of all that are not retired are there, and their models here. */
async function lookAtGenerations(config: Config): Promise<Look> {
  const registry = await openConfluentRegistry(config.registry)
  const log = await openKafkaLog(config.kafka, { clientId: 'freshet-doctor', patienceMs })
  try {
    const { control: codec } = await openCodecs(registry)
    const { generations } = await new ControlLog({ log, codec }).refresh()
    const live = [...generations.values()].filter(({ state }) => state !== 'retired')
    const topics = await checkTopics(
      log,
      live.map(({ started }) => mutationTopicSpec(config, started.generation)),
    )
    const found = live.map(({ started, state }) => `${started.generation} ${state}, model ${started.model}`).join('; ')
    const unfit = topics.filter(({ state }) => state !== 'fits').map(({ topic, state }) => `${topic} ${state}`)
    if (unfit.length > 0)
      return { outcome: 'fail', found: `${found}: ${unfit.join(', ')}`, advice: 'Run freshet topics apply.' }
    const missing = await missingModels(config, live)
    if (missing.length === 0) return { outcome: 'ok', found: found || 'none yet', advice: '' }
    const advice = 'Run freshet model add here, if this machine runs gateways or workers.'
    return { outcome: 'warn', found: `${found}: not held here ${missing.join(', ')}`, advice }
  } finally {
    await log.close()
    await registry.close()
  }
}

/** Names of models that are not here, or that stand for another one here. */
async function missingModels(config: Config, generations: readonly GenerationStatus[]): Promise<readonly string[]> {
  const missing = new Set<string>()
  for (const { started } of generations) {
    const held = await modelIdentity(config, started.model).catch(() => null)
    if (held?.fingerprint !== started.fingerprint) missing.add(started.model)
  }
  return [...missing]
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
