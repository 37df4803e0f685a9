import { setTimeout as delay } from 'node:timers/promises'
import { catalogTopic, mutationTopic } from '../../../schemas/topics.ts'
import { generation } from './fault-installation.ts'
import { KafkaOperator } from './kafka-operator.ts'
import { standard, threeBrokers } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { until } from './until.ts'

const awayMs = 30_000

export const brokerFaults: readonly Scenario[] = [
  { name: 'broker-killed', plan: standard, run: killBroker },
  { name: 'broker-away', plan: standard, run: takeBrokerAway },
  { name: 'leader-killed', plan: threeBrokers, run: killLeaders },
]

async function killBroker({ installation, load, recovered }: FaultContext): Promise<ScenarioOutcome> {
  const { kafka } = installation.servers
  const kills = 2
  let recoveryMs = 0
  for (let kill = 1; kill <= kills; kill++) {
    await load.flowing(200)
    await kafka.kill()
    await kafka.startAgain()
    recoveryMs = Math.max(recoveryMs, await recovered())
  }
  await load.flowing(200)
  return { done: `the broker got SIGKILL ${kills} times, was started again at once`, recoveryMs }
}

async function takeBrokerAway({ installation, load, recovered }: FaultContext): Promise<ScenarioOutcome> {
  const { kafka } = installation.servers
  await load.flowing(200)
  await kafka.kill()
  await delay(awayMs)
  await kafka.startAgain()
  const recoveryMs = await recovered()
  await load.flowing(200)
  return { done: `the broker was away for ${awayMs / 1000} s`, recoveryMs }
}

async function killLeaders({ installation, load, recovered, note }: FaultContext): Promise<ScenarioOutcome> {
  const { kafka } = installation.servers
  const operator = new KafkaOperator(kafka.brokers)
  const topics = [catalogTopic, mutationTopic(generation)]
  let recoveryMs = 0
  for (const topic of topics) {
    await load.flowing(200)
    const [leader] = await operator.leaders(topic)
    note(`killing node ${leader}, which leads most of ${topic}`)
    await kafka.kill(leader!)
    await load.flowing(300)
    recoveryMs = Math.max(recoveryMs, await recovered())
    await kafka.startAgain()
    await until('every partition has its replicas in sync', async () => {
      const whole = await Promise.all(topics.map(each => operator.isWhole(each)))
      return !whole.includes(false)
    })
  }
  return { done: `of three brokers the one that led most was killed, ${topics.length} times`, recoveryMs }
}
