import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDataDirectory } from './data-directory.ts'

const program = join(import.meta.dirname, 'testing/hold-data-directory.ts')
let path: string
let holders: ChildProcess[]

beforeEach(async () => {
  // Longer than a socket path may be.
  path = join(await mkdtemp(join(tmpdir(), 'freshet-lock-')), 'd'.repeat(120), 'data')
  holders = []
})

afterEach(async () => {
  for (const holder of holders) await kill(holder)
  await rm(join(path, '../..'), { recursive: true })
})

async function hold(): Promise<ChildProcess> {
  const holder = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  holders.push(holder)
  const [output] = await once(holder.stdout!, 'data')
  expect(String(output)).toBe('open\n')
  return holder
}

async function kill(holder: ChildProcess): Promise<void> {
  if (holder.exitCode !== null || holder.signalCode !== null) return
  holder.kill('SIGKILL')
  await once(holder, 'exit')
}

test('a second process is refused, with the pid of the first, until that is killed', async () => {
  for (let round = 0; round < 3; round++) {
    const holder = await hold()
    const refusal = { code: 'data-locked', details: { path, pid: holder.pid } }
    await expect(openDataDirectory(path)).rejects.toMatchObject(refusal)
    await expect(openDataDirectory(path)).rejects.toMatchObject(refusal)
    await kill(holder)
    const opened = await openDataDirectory(path)
    await opened.close()
  }
})

test('of many processes at once one gets it', async () => {
  const starting = Array.from({ length: 4 }, () => {
    const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'ignore'] })
    holders.push(child)
    return Promise.race([once(child.stdout!, 'data').then(() => 'open'), once(child, 'exit').then(() => 'refused')])
  })
  expect((await Promise.all(starting)).toSorted()).toEqual(['open', 'refused', 'refused', 'refused'])
})
