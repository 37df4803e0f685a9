import { decodeJob, type EmbedJob } from '../../../schemas/embed-job.ts'
import { FreshetError } from '../../../schemas/errors.ts'
import type { Generation, ItemId, Partition } from '../../../schemas/ids.ts'
import { mutationKey } from '../../../schemas/mutation.ts'
import { catalogTopic, mutationTopic } from '../../../schemas/topics.ts'
import { DispatchRunner, type DispatchRunnerOptions } from '../../dispatch/runner.ts'
import { type FoldedItem, failureOf, objectsOf } from '../../dispatch/test-records.ts'
import {
  brokenImages,
  failTest,
  fold,
  type Installation,
  partitionCount,
  settings,
} from '../../dispatch/testing/installation.ts'
import type { EventLog, LogRecord } from '../../event-log.ts'
import type { KeyValueStore } from '../../key-value-store.ts'

export const source = settings.generation
export const target = 'g2' as Generation

/** Everything that can end a copy: before and after its appends. */
export interface CrashPoint {
  /** The append to the new generation's log at which the process ends, from 0 on. */
  readonly append: number
  readonly isWritten: boolean
}

/** A log that a process uses until it ends: then nothing of it is written any more. */
export function logUntilCrash(inner: EventLog, { append, isWritten }: CrashPoint, onCrash: () => void): EventLog {
  const crashed = new FreshetError('internal', 'the process has ended')
  let appends = 0
  let isOver = false
  const unlessOver = async <T>(call: () => Promise<T>): Promise<T> => {
    if (isOver) throw crashed
    return call()
  }
  return {
    ensureTopic: spec => inner.ensureTopic(spec),
    deleteTopic: topic => inner.deleteTopic(topic),
    topicSpec: topic => inner.topicSpec(topic),
    partitionCount: topic => inner.partitionCount(topic),
    append: (topic, records) =>
      unlessOver(async () => {
        if (topic !== mutationTopic(target) || appends++ < append) return inner.append(topic, records)
        isOver = true
        if (isWritten) await inner.append(topic, records)
        onCrash()
        throw crashed
      }),
    offsets: topic => unlessOver(() => inner.offsets(topic)),
    openReader: options => unlessOver(() => inner.openReader(options)),
    committed: (group, topic) => unlessOver(() => inner.committed(group, topic)),
    close: async () => undefined,
  }
}

export async function createTargetTopic({ log }: Installation): Promise<void> {
  await log.ensureTopic({
    name: mutationTopic(target),
    partitions: partitionCount,
    compacted: true,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
}

interface RunnerOptions extends Pick<DispatchRunnerOptions, 'partitions' | 'onFailure'> {
  readonly log: EventLog
  /** Of the item table: each process has its own. */
  readonly table: KeyValueStore
  readonly clock: () => number
}

/** Its dispatcher; that of the target copies. */
export function dispatcherOf(
  { ports }: Installation,
  generation: Generation,
  options: Partial<RunnerOptions> = {},
): DispatchRunner {
  const { partitions = 'all', onFailure = failTest, ...own } = options
  const copiedFrom = generation === target ? source : null
  return new DispatchRunner(
    { ...ports, ...own },
    { settings: { ...settings, generation, copiedFrom }, onFailure, partitions, tickMs: 20, batchRecords: 64 },
  )
}

/** A worker for both generations while the body runs; tells the jobs it was given. */
export async function withWorker(
  installation: Installation,
  body: (jobs: readonly EmbedJob[]) => Promise<void>,
): Promise<void> {
  const ended = new AbortController()
  const jobs: EmbedJob[] = []
  const working = work(installation, jobs, ended.signal)
  try {
    await body(jobs)
  } finally {
    ended.abort()
    await working
  }
}

async function work({ ports, log, codecs }: Installation, jobs: EmbedJob[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const claimed = await ports.queue.claim(20, 60_000, 50)
    for (const { payload } of claimed) {
      const job = decodeJob(payload)
      jobs.push(job)
      const isBroken = brokenImages.has(job.images[0]!)
      const mutation = isBroken ? failureOf(job, false, 'image-corrupt') : objectsOf(job)
      const value = codecs.mutations.encode(mutation)
      const record = { partition: job.partition, key: Buffer.from(mutationKey(mutation)), value }
      await log.append(mutationTopic(job.generation), [record])
    }
    await ports.queue.complete(claimed)
  }
}

/** What a generation holds once its watermarks have reached the ends that the catalog has now. */
export async function appliedOf(
  installation: Installation,
  generation: Generation,
): Promise<ReadonlyMap<ItemId, FoldedItem>> {
  const { log, codecs } = installation
  const left = new Map<Partition, number>()
  for (const [partition, { end }] of await log.offsets(catalogTopic)) left.set(partition, end - 1)
  const reader = await log.openReader({
    topic: mutationTopic(generation),
    partitions: [...left.keys()],
    from: new Map(),
  })
  const all: LogRecord[] = []
  while (left.size > 0)
    for (const record of await reader.poll(1_000, 1_000)) {
      all.push(record)
      const mutation = record.value && codecs.mutations.decode(record.value)
      if (mutation?.type === 'Watermark' && mutation.offset >= (left.get(mutation.partition) ?? Infinity))
        left.delete(mutation.partition)
    }
  await reader.close()
  return fold(installation, all)
}
