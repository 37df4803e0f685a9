import { readFileSync } from 'node:fs'
import { processTree } from '../../testing/server-process.ts'

/** /proc counts in hundredths of a second. */
const msPerTick = 10

/** Named processes whose work is counted, by pid. */
export type CountedProcesses = ReadonlyMap<string, number>

/**
 * CPU time, user and system, that processes take between two moments: unlike wall time, what else runs on the machine
 * hardly changes it. From /proc, so on Linux only; children count for their parents.
 */
export class CpuCount {
  readonly #began: ReadonlyMap<string, number>
  readonly #processes: CountedProcesses

  constructor(processes: CountedProcesses) {
    this.#processes = processes
    this.#began = msOf(processes)
  }

  /** Since the count began, ms per process. */
  passedMs(): ReadonlyMap<string, number> {
    const now = msOf(this.#processes)
    return new Map(Array.from(now, ([name, ms]) => [name, ms - this.#began.get(name)!]))
  }
}

function msOf(processes: CountedProcesses): ReadonlyMap<string, number> {
  return new Map(Array.from(processes, ([name, pid]) => [name, pid === process.pid ? ownMs() : treeMs(pid)]))
}

/** All others are children of this one. */
function ownMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}

function treeMs(root: number): number {
  return processTree(root).reduce((ms, pid) => ms + processMs(pid), 0)
}

/** With the children that it had and that are gone. */
function processMs(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // After the name in parentheses, which may hold anything: fields 3 and up. User, system, and both of children: 14 to 17.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields.slice(11, 15).reduce((ms, ticks) => ms + Number(ticks) * msPerTick, 0)
  } catch {
    // It ended between the listing and now.
    return 0
  }
}
