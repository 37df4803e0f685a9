import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../topologies/embedded/environment.ts'
import { ModelledShard } from './testing/modelled-shard.ts'
import { seededRandom } from './testing/seeded-random.ts'
import { compareWhole } from './testing/shard-comparison.ts'
import { Spectator } from './testing/spectator.ts'
import { tinyTuning } from './testing/tiny-tuning.ts'

const program = join(import.meta.dirname, 'testing/shard-until-killed.ts')
const seed = 4_711
const kills = 12

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-kill-'))
})

afterEach(() => rm(directory, { recursive: true }))

/** Runs the shard and kills it after so many lines. Returns the last ones. */
async function runUntilKilled(round: number, lines: number): Promise<readonly string[]> {
  const versions = `${round * 1_000_000}`
  const child = spawn(process.execPath, [program, directory, `${seed + round}`, versions], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  const seen: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    seen.push(line)
    if (seen.length === lines) child.kill('SIGKILL')
  }
  expect(await exited).toEqual([null, 'SIGKILL'])
  return seen.slice(-5)
}

/** Opens a copy of the files on the log, so that the next process begins with what the killed one left. */
async function verify(after: string): Promise<void> {
  const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: () => 1_000_000 })
  const log = new EmbeddedEventLog(environment)
  const shard = await ModelledShard.create({ seed, dims: 16, items: 400, tuning: tinyTuning, log })
  try {
    await shard.readLog()
    const copy = shard.newDirectory()
    await cp(join(directory, 'shard'), copy, { recursive: true })
    await compareWhole(shard, await shard.open(copy))
    expect([...shard.alarms, ...shard.failures], after).toEqual([])
  } finally {
    await shard.dispose()
    await environment.close()
  }
}

test(`kill -9 at any moment leaves files that open, and the shard catches up to what the log says (seed ${seed})`, async () => {
  const random = seededRandom(seed)
  for (let kill = 0; kill < kills; kill++) {
    const last = await runUntilKilled(kill, 10 + Math.floor(random() * 400))
    await verify(`kill ${kill} after ${last.join(', ')}`)
  }
})

/** Process ids of the builds of this process. */
function builds(): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        const parent = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
        return Number(parent) === process.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('build-process')
      } catch {
        return false
      }
    })
    .map(Number)
}

test('a build that is killed costs no answer, and is done again', async () => {
  const shard = await ModelledShard.create({ seed, dims: 16, items: 400, tuning: tinyTuning })
  try {
    await shard.serve(await shard.open(shard.newDirectory()))
    const spectator = new Spectator(shard)
    let killed = 0
    while (killed < 3) {
      await shard.writeEvents(20)
      await shard.caughtUp()
      for (const pid of builds()) {
        process.kill(pid, 'SIGKILL')
        killed++
      }
    }
    await shard.node.settled()
    await spectator.stop()
    expect(spectator.searches).toBeGreaterThan(10)
    expect(shard.node.state).toBe('ready')
    await compareWhole(shard, shard.node)
    expect(shard.alarms.map(({ code }) => code)).toEqual(Array(killed).fill('internal'))
    expect(shard.failures).toEqual([])
  } finally {
    await shard.dispose()
  }
})
