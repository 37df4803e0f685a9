import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { setBuildPriority, waitingPriority } from './build-priority.ts'

const canChoose = process.platform === 'linux' && spawnSync('chrt', ['--version']).status === 0
const isRoot = process.getuid?.() === 0

test('a build that can wait takes what nobody uses, where anything is left', () => {
  expect(waitingPriority(1.9, 2)).toBe('idle')
  expect(waitingPriority(2, 2)).toBe('low')
})

describe.skipIf(!canChoose)('a process with all its threads (needs Linux and chrt)', () => {
  let child: ChildProcess
  beforeEach(async () => {
    child = fork(fileURLToPath(new URL('../testing/silent-process.ts', import.meta.url)), { execArgv: [] })
    await once(child, 'spawn')
  })
  afterEach(end)

  async function end(): Promise<void> {
    if (child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  test('takes what nobody uses', async () => {
    expect(await setBuildPriority(child.pid!, 'idle')).toBe(true)
    expect(prioritiesOf(child.pid!)).toEqual(new Set(['idle 19']))
  })

  test('has the lowest nice value', async () => {
    expect(await setBuildPriority(child.pid!, 'low')).toBe(true)
    expect(prioritiesOf(child.pid!)).toEqual(new Set(['other 19']))
  })

  test.skipIf(!isRoot)('comes back to normal (needs root)', async () => {
    await setBuildPriority(child.pid!, 'idle')
    expect(await setBuildPriority(child.pid!, 'normal')).toBe(true)
    expect(prioritiesOf(child.pid!)).toEqual(new Set(['other 0']))
  })

  test('that is gone is no failure', async () => {
    await end()
    expect(await setBuildPriority(child.pid!, 'normal')).toBe(true)
  })
})

/** Of all threads of a process: what `chrt` calls the policy, and the nice value. */
function prioritiesOf(pid: number): ReadonlySet<string> {
  const threads = readdirSync(`/proc/${pid}/task`).map(thread => {
    // Field 41, counted from behind the name, which may hold anything.
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')
    const policy = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38]
    return `${policy === '5' ? 'idle' : policy === '0' ? 'other' : policy} ${getPriority(Number(thread))}`
  })
  return new Set(threads)
}
