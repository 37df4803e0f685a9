import type { EmbedJob } from '../../schemas/embed-job.ts'
import { asPartition, type Offset, parseItemId } from '../../schemas/ids.ts'
import { DispatchTestDriver, type DriverOptions } from './test-driver.ts'
import { foldRegisters, jobIdAt, upsertOf } from './test-records.ts'

/** The pieces that the step's tests by name are made of. */
export const lamp = parseItemId('lamp')
export const sofa = parseItemId('sofa')
export const zero = asPartition(0)

/** One partition, so that every item is in it and offsets are easy to name: the marker is 0, the first event 1. */
export function oneDriver(options: DriverOptions = {}): DispatchTestDriver {
  return new DispatchTestDriver({ partitionCount: 1, ...options })
}

export function dispatchAll(driver: DispatchTestDriver): void {
  driver.readCatalog()
  driver.readMutations()
}

export function runAt(
  driver: DispatchTestDriver,
  offset: Offset,
  outcome: 'finish' | 'fail' | 'failRetryable' = 'finish',
): void {
  driver.runJob(jobIdAt(zero, offset), outcome)
  driver.readMutations()
}

/** The lamp's first picture, embedded. */
export function runFirst(driver: DispatchTestDriver): Offset {
  const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
  dispatchAll(driver)
  runAt(driver, offset)
  return offset
}

/** The lamp's first picture, given up. */
export function failedFirst(driver: DispatchTestDriver): { readonly offset: Offset; readonly job: EmbedJob } {
  const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
  dispatchAll(driver)
  const job = driver.durable.queue.get(jobIdAt(zero, offset))!
  runAt(driver, offset, 'fail')
  return { offset, job }
}

/** The watermark as it would be written now. */
export function watermarkOf(driver: DispatchTestDriver, partition = zero): number {
  driver.tick(1_000)
  return driver.lastWatermark(partition)!.offset
}

/** What a shard holds that is rebuilt from the compacted log. */
export function rebuilt(driver: DispatchTestDriver): ReturnType<typeof foldRegisters> {
  driver.compact()
  return foldRegisters(driver.durable.mutations.flat())
}
