import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asPartition } from '../../../schemas/ids.ts'
import { EmbeddedEventLog } from '../embedded-event-log.ts'
import { EmbeddedEnvironment } from '../environment.ts'

/**
 * Fills the small file system it is given, and prints what it saw as JSON. Argument: a directory on it. Guarding the
 * free space is off, so that writes really fail.
 */
const directory = process.argv[2]!
const topic = {
  name: 't',
  partitions: 1,
  compacted: false,
  retentionMs: null,
  minCompactionLagMs: 0,
  tombstoneRetentionMs: 0,
}
const record = { partition: asPartition(0), key: Buffer.from('k'), value: Buffer.alloc(20_000, 7) }
const ballast = join(directory, 'ballast')

const open = () => EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: Date.now, minFreeBytes: 0 })
await writeFile(ballast, Buffer.alloc(2 ** 20))
let environment = await open()
let log = new EmbeddedEventLog(environment)
await log.ensureTopic(topic)

let acknowledged = 0
const append = async () => {
  await log.append('t', [record, record, record])
  acknowledged += 3
}
const failure = await appendUntilFull()
const waiting = await Promise.allSettled([append(), append(), append()])
const readWhileFull = await countRecords()
const acknowledgedWhileFull = acknowledged
await rm(ballast)
await append()
const readAfter = await countRecords()
await environment.close()
environment = await open()
log = new EmbeddedEventLog(environment)
const readAfterReopening = await countRecords()
await environment.close()
console.log(
  JSON.stringify({
    failure,
    waiting: waiting.map(outcome => (outcome.status === 'rejected' ? outcome.reason.code : outcome.status)),
    acknowledgedWhileFull,
    readWhileFull,
    acknowledged,
    readAfter,
    readAfterReopening,
  }),
)

async function appendUntilFull(): Promise<string> {
  try {
    for (;;) await append()
  } catch (error) {
    return (error as { code: string }).code
  }
}

async function countRecords(): Promise<number> {
  const reader = await log.openReader({ topic: 't', partitions: [asPartition(0)], from: new Map() })
  let count = 0
  for (let polled = await reader.poll(50, 0); polled.length > 0; polled = await reader.poll(50, 0))
    for (const { offset } of polled) if (offset === count) count++
  await reader.close()
  return count
}
