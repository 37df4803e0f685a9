import { writeSync } from 'node:fs'
import { asPartition } from '../../../schemas/ids.ts'
import { EmbeddedEventLog } from '../embedded-event-log.ts'
import { EmbeddedWorkQueue } from '../embedded-work-queue.ts'
import { EmbeddedEnvironment } from '../environment.ts'

/**
 * A process to kill: writes rounds of records and a job, each round in one tick, and prints a round's number once
 * all of it is acknowledged. Arguments: directory, first round.
 */
const [directory, firstRound] = process.argv.slice(2)
const roundsInFlight = 4

const environment = await EmbeddedEnvironment.open({ directory: directory!, clock: Date.now, minFreeBytes: 0 })
const log = new EmbeddedEventLog(environment)
const queue = new EmbeddedWorkQueue(environment)
await log.ensureTopic({
  name: 't',
  partitions: 2,
  compacted: true,
  retentionMs: null,
  minCompactionLagMs: 0,
  tombstoneRetentionMs: 0,
})
let round = Number(firstRound)
await Promise.all(Array.from({ length: roundsInFlight }, writeRounds))

async function writeRounds(): Promise<never> {
  for (;;) {
    const current = round++
    const record = (partition: number, name: string) => ({
      partition: asPartition(partition),
      key: Buffer.from(`${current}-${name}`),
      value: Buffer.alloc(300, current % 256),
    })
    await Promise.all([
      log.append('t', [record(0, 'a'), record(1, 'b')]),
      log.append('t', [record(0, 'c')]),
      queue.add([{ id: `${current}`, priority: 'live', payload: Buffer.alloc(100), delayMs: 0 }]),
    ])
    writeSync(1, `${current}\n`)
  }
}
