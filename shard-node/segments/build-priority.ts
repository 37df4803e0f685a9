import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { promisify } from 'node:util'

const run = promisify(execFile)

const policies = { lowest: '--idle', normal: '--other' } as const

/**
 * Gives all threads of a process the lowest priority there is, or the normal one. False when the operating system does
 * not let this process do so: back to normal is for root, as a rule. At the lowest (Linux: SCHED_IDLE) it runs on what
 * nobody else uses, and whoever wakes up takes its place at once; by its nice value alone it would keep a core to the
 * end of its slice, some milliseconds, while a search waits.
 */
export async function setBuildPriority(pid: number, priority: keyof typeof policies): Promise<boolean> {
  const nice = priority === 'lowest' ? constants.priority.PRIORITY_LOW : constants.priority.PRIORITY_NORMAL
  for (const thread of threadsOf(pid)) if (!setNice(thread, nice)) return false
  if (process.platform !== 'linux') return true
  // Not installed, or not allowed: the nice value has to do.
  await run('chrt', ['--all-tasks', policies[priority], '--pid', '0', String(pid)]).catch(() => undefined)
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
