import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism, constants, loadavg, setPriority } from 'node:os'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * `idle` (Linux: SCHED_IDLE): on what nobody else uses, and whoever wakes up takes its place at once; by its nice value
 * alone a process keeps a core to the end of its slice, some milliseconds, while a search waits. `low`: the lowest nice
 * value, which still has a share where no core is ever free.
 */
export type BuildPriority = 'idle' | 'low' | 'normal'

/** Of a build that can wait, by how busy the machine has been in the last minute. */
export function waitingPriority(load = loadavg()[0]!, cores = availableParallelism()): 'idle' | 'low' {
  return load < cores ? 'idle' : 'low'
}

/**
 * Gives a priority to all threads of a process. False when the operating system does not let this process do so: back
 * to normal is for root, as a rule.
 */
export async function setBuildPriority(pid: number, priority: BuildPriority): Promise<boolean> {
  const { PRIORITY_LOW, PRIORITY_NORMAL } = constants.priority
  const nice = priority === 'normal' ? PRIORITY_NORMAL : PRIORITY_LOW
  for (const thread of threadsOf(pid)) if (!setNice(thread, nice)) return false
  if (process.platform !== 'linux') return true
  const policy = priority === 'idle' ? '--idle' : '--other'
  // Not installed, or not allowed: the nice value has to do.
  await run('chrt', ['--all-tasks', policy, '--pid', '0', String(pid)]).catch(() => undefined)
  return true
}

/** Nice values are the threads' own on Linux: those that are started later have that of whoever starts them. */
function threadsOf(pid: number): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number)
  } catch {
    return [pid]
  }
}

function setNice(thread: number, nice: number): boolean {
  try {
    setPriority(thread, nice)
    return true
  } catch (thrown) {
    const { code } = (thrown as NodeJS.ErrnoException & { info?: { code?: string } }).info ?? {}
    // It has just ended.
    return code === 'ESRCH'
  }
}
