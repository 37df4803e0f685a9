import type { DiskStep } from '../files/disk-steps.ts'
import { answerBuild } from '../segments/build-process.ts'

/** What a build process of tests does at its n-th disk step: `crash` by a signal, or find the disk full. */
export type BuildFault = 'crash' | 'full'

const [step, fault] = process.argv.slice(2) as [string, BuildFault]
let steps = 0

answerBuild((_step: DiskStep) => {
  if (++steps !== Number(step)) return
  if (fault === 'crash') process.kill(process.pid, 'SIGKILL')
  throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
})
