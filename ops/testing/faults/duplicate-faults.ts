import { catalogTopic } from '../../../schemas/topics.ts'
import { BullmqWorkQueue } from '../../../topologies/bullmq/bullmq-work-queue.ts'
import type { LogRecord } from '../../../topologies/event-log.ts'
import type { ClaimedJob } from '../../../topologies/work-queue.ts'
import type { FaultInstallation } from './fault-installation.ts'
import { standard } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { until } from './until.ts'

export const duplicateFaults: readonly Scenario[] = [{ name: 'duplicates', plan: standard, run: deliverAgain }]

const wantedJobs = 100
const recordsAgain = 500

/** Events are published once more as they are, late and in one go; image work runs once more, late. */
async function deliverAgain({ installation, load, recovered }: FaultContext): Promise<ScenarioOutcome> {
  const { url } = installation.servers.redis
  const queue = new BullmqWorkQueue({ redis: { url } })
  try {
    const jobs = await copyJobs(queue)
    await load.flowing(300)
    await queue.add(jobs.map(({ id, priority, payload }) => ({ id, priority, payload, delayMs: 0 })))
    const records = await latestRecords(installation)
    await installation.log.append(
      catalogTopic,
      records.map(({ partition, key, value }) => ({ partition, key, value })),
    )
    await load.flowing(200)
    const recoveryMs = await recovered()
    await until('the queue is done with all', async () => {
      const { waiting, claimed } = await queue.depth()
      return waiting.live + waiting.standby + waiting.backfill + claimed < wantedJobs
    })
    return { done: `${records.length} events were published again, ${jobs.length} jobs ran again`, recoveryMs }
  } finally {
    await queue.close()
  }
}

/** Takes jobs from under the workers and gives them back at once. */
async function copyJobs(queue: BullmqWorkQueue): Promise<readonly ClaimedJob[]> {
  const copied = new Map<string, ClaimedJob>()
  await until(`${wantedJobs} jobs passed`, async () => {
    const claimed = await queue.claim(16, 5_000, 100)
    for (const job of claimed) {
      copied.set(job.id, job)
      await queue.retry(job, { delayMs: 0, priority: job.priority })
    }
    return copied.size >= wantedJobs
  })
  return [...copied.values()]
}

/** The last ones of each partition, in its order. */
async function latestRecords({ log }: FaultInstallation): Promise<readonly LogRecord[]> {
  const offsets = await log.offsets(catalogTopic)
  const perPartition = Math.ceil(recordsAgain / offsets.size)
  const ends = new Map([...offsets].map(([partition, { end }]) => [partition, end] as const))
  const from = new Map(
    [...offsets].map(([partition, { start, end }]) => [
      partition,
      // The first record of all is no event.
      Math.max(start + 1, end - perPartition) as typeof end,
    ]),
  )
  const reader = await log.openReader({ topic: catalogTopic, partitions: [...ends.keys()], from })
  const records: LogRecord[] = []
  try {
    while ([...ends].some(([partition, end]) => reader.position(partition) < end))
      records.push(...(await reader.poll(5_000, 200)))
  } finally {
    await reader.close()
  }
  return records
}
