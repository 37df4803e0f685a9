import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import { EmbeddedWorkQueue } from './embedded-work-queue.ts'
import { EmbeddedEnvironment } from './environment.ts'

const program = join(import.meta.dirname, 'testing/append-until-killed.ts')
/** After how many acknowledged rounds the process is killed. */
const kills = [1, 37, 160, 400, 911]

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-crash-'))
})

afterEach(() => rm(directory, { recursive: true }))

/** Runs the writer from a round on and kills it after so many acknowledgements. Returns the acknowledged rounds. */
async function writeUntilKilled(firstRound: number, acknowledgements: number): Promise<readonly number[]> {
  const child = spawn(process.execPath, [program, directory, `${firstRound}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const acknowledged: number[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(Number(line))
    if (acknowledged.length === acknowledgements) child.kill('SIGKILL')
  }
  expect(await exited).toEqual([null, 'SIGKILL'])
  return acknowledged
}

/** Pieces of each round that are stored: `a`, `b` and `c` in the log, `job` in the queue. */
async function storedRounds(): Promise<ReadonlyMap<number, ReadonlySet<string>>> {
  const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now, minFreeBytes: 0 })
  try {
    const rounds = new Map<number, Set<string>>()
    const note = (round: number, piece: string) =>
      rounds.set(round, (rounds.get(round) ?? new Set<string>()).add(piece))
    const log = new EmbeddedEventLog(environment)
    const reader = await log.openReader({ topic: 't', partitions: 'group', group: 'check', from: new Map() })
    const end = [0, 0]
    for (let polled = await reader.poll(500, 0); polled.length > 0; polled = await reader.poll(500, 0)) {
      for (const { partition, offset, key, value } of polled) {
        expect(offset).toBe(end[partition]!++)
        const [round, piece] = Buffer.from(key!).toString().split('-')
        expect(Buffer.compare(value!, Buffer.alloc(300, Number(round) % 256))).toBe(0)
        note(Number(round), piece!)
      }
    }
    const queue = new EmbeddedWorkQueue(environment)
    const ids = Array.from({ length: Math.max(0, ...rounds.keys()) + 50 }, (_, round) => `${round}`)
    for (const id of await queue.known(ids)) note(Number(id), 'job')
    return rounds
  } finally {
    await environment.close()
  }
}

test('kill -9 at any point loses nothing acknowledged and leaves no transaction half done', async () => {
  const acknowledged: number[] = []
  let firstRound = 0
  for (const count of kills) {
    acknowledged.push(...(await writeUntilKilled(firstRound, count)))
    const stored = await storedRounds()
    for (const round of acknowledged) expect(stored.has(round), `round ${round}`).toBe(true)
    for (const [round, pieces] of stored)
      expect([...pieces].toSorted(), `round ${round}`).toEqual(['a', 'b', 'c', 'job'])
    firstRound = Math.max(...stored.keys()) + 1
  }
})
