import { expect, test } from 'vitest'
import { diskSteps } from './files/disk-steps.ts'
import { runCrashPoints, runFullDisk } from './testing/crash-points-run.ts'

const seed = 41

test(`after a crash before any disk step the shard opens, catches up and is whole (seed ${seed})`, async () => {
  const { steps, tried, kinds } = await runCrashPoints({ seed, share: 0.005 })
  expect(tried).toBeGreaterThanOrEqual(diskSteps.length)
  expect(steps).toBeGreaterThan(tried)
  for (const step of diskSteps) expect(kinds.some(kind => kind.startsWith(`${step} `))).toBe(true)
})

test(`a disk that is full from any write on stops no search, and all is well once there is space (seed ${seed})`, async () => {
  const { tried } = await runFullDisk({ seed, share: 0.005 })
  expect(tried).toBeGreaterThan(0)
})
