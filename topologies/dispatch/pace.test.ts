import { expect, test } from 'vitest'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import { asOffset, parseItemId } from '../../schemas/ids.ts'
import type { DispatchPace } from './pace.ts'
import type { DispatchTestDriver } from './test-driver.ts'
import { upsertOf } from './test-records.ts'
import { oneDriver } from './test-scenario.ts'

const unbound: DispatchPace = { priority: 'standby', isPaused: false, imagesPerSecond: null, imageRecords: null }

test('work above the backfill has the priority of the pace, that below it stays backfill', () => {
  const driver = oneDriver({ settings: { backfillUntil: [asOffset(2)] } })
  const priorities: WorkPriority[] = []
  driver.onJobs = jobs => priorities.push(...jobs.map(({ priority }) => priority))
  publish(driver, 4)
  driver.readCatalog(3)
  setPace(driver, unbound)
  publish(driver, 2)
  driver.readCatalog()
  expect(priorities.slice(0, 2)).toContain('backfill')
  expect(priorities.slice(-2)).toEqual(['standby', 'standby'])
  setPace(driver, { ...unbound, priority: 'live' })
  publish(driver, 1)
  driver.readCatalog()
  expect(priorities.at(-1)).toBe('live')
})

test('a pause holds reading until it ends, and changes nothing of what is in hand', () => {
  const driver = oneDriver()
  publish(driver, 4)
  driver.readCatalog(2)
  setPace(driver, { ...unbound, isPaused: true })
  expect(driver.paused).toBe(true)
  driver.readMutations()
  driver.tick(10_000)
  expect(driver.paused).toBe(true)
  setPace(driver, unbound)
  expect(driver.paused).toBe(false)
})

test('a rate is kept in the mean: reading waits while more was issued than it allows', () => {
  const driver = oneDriver({ settings: { backfillUntil: [asOffset(1_000)] } })
  setPace(driver, { ...unbound, imagesPerSecond: 2 })
  publish(driver, 100)
  let issued = 0
  driver.onJobs = jobs => {
    issued += jobs.length
  }
  const batch = 10
  for (let second = 0; second < 30; second++) {
    if (!driver.paused) driver.readCatalog(batch)
    driver.readMutations()
    driver.tick(1_000)
  }
  expect(issued).toBeGreaterThanOrEqual(60 - batch)
  expect(issued).toBeLessThanOrEqual(60 + batch)
})

test('the pace bounds how many events wait for images', () => {
  const driver = oneDriver()
  setPace(driver, { ...unbound, imageRecords: 3 })
  publish(driver, 8)
  driver.readCatalog(6)
  expect(driver.paused).toBe(true)
  for (const id of driver.jobIds()) driver.runJob(id, 'finish')
  driver.readMutations()
  expect(driver.paused).toBe(false)
})

function setPace(driver: DispatchTestDriver, pace: DispatchPace): void {
  driver.first.feed({ type: 'pace', pace, nowMs: driver.nowMs })
}

let published = 0

function publish(driver: DispatchTestDriver, events: number): void {
  for (let i = 0; i < events; i++) driver.publish(upsertOf(parseItemId(`item${published++}`), 'https://a/1'))
}
