import { describe, expect, test } from 'vitest'
import { asOffset, parseItemId } from '../../schemas/ids.ts'
import type { DispatchTestDriver } from './test-driver.ts'
import { upsertOf } from './test-records.ts'
import { dispatchAll, lamp, oneDriver, rebuilt, runAt, runFirst } from './test-scenario.ts'

describe('bounds', () => {
  test('reading pauses when too much is not read back, and goes on at half', () => {
    const driver = oneDriver({ settings: { bounds: boundsOf({ unreadRecords: 4 }) } })
    for (let i = 0; i < 8; i++) driver.publish(upsertOf(parseItemId(`item${i}`), 'https://a/1'))
    driver.readCatalog(6)
    expect(driver.paused).toBe(true)
    driver.readMutations(3)
    expect(driver.paused).toBe(true)
    driver.readMutations()
    expect(driver.paused).toBe(false)
  })

  test('images in the window pause reading only at their own bound', () => {
    const driver = oneDriver({ settings: { bounds: boundsOf({ unreadRecords: 4, imageRecords: 10 }) } })
    for (let i = 0; i < 12; i++) driver.publish(upsertOf(parseItemId(`item${i}`), 'https://a/1'))
    for (let read = 0; read < 5; read++) {
      driver.readCatalog(2)
      driver.readMutations()
    }
    expect(driver.paused).toBe(false)
    driver.readCatalog(2)
    driver.readMutations()
    expect(driver.paused).toBe(true)
    for (const id of driver.jobIds().slice(0, 6)) driver.runJob(id, 'finish')
    driver.readMutations()
    expect(driver.paused).toBe(false)
  })
})

describe('tails', () => {
  /** Eight events of backlog, then as many live ones. */
  const withBacklog = (settings: Partial<DispatchTestDriver['settings']>) => {
    const driver = oneDriver({ settings: { ...settings, backfillUntil: [asOffset(9)] } })
    for (let i = 0; i < 8; i++) driver.publish(upsertOf(parseItemId(`old${i}`), 'https://a/1'))
    driver.first.restart()
    driver.readMutations()
    for (let i = 0; i < 8; i++) driver.publish(upsertOf(parseItemId(`live${i}`), 'https://a/1'))
    return driver
  }
  const liveJobs = (driver: DispatchTestDriver) =>
    [...driver.durable.queue.values()].filter(({ itemId }) => itemId.startsWith('live'))

  test('a backlog at its bound does not hold them up; a quarter more does', () => {
    const driver = withBacklog({ bounds: boundsOf({ unreadRecords: 4 }) })
    driver.readCatalog(6)
    expect([driver.paused, driver.first.tailsPaused]).toEqual([true, false])
    driver.first.readTail(1)
    expect(liveJobs(driver)).toHaveLength(1)
    expect(driver.first.tailsPaused).toBe(true)
    driver.readMutations(3)
    expect([driver.paused, driver.first.tailsPaused]).toEqual([true, false])
    driver.first.readTail(2)
    expect(liveJobs(driver)).toHaveLength(3)
  })

  test('nor does the pace of the backlog, unless it pauses everything', () => {
    const driver = withBacklog({})
    const pace = { priority: 'live', isPaused: false, imagesPerSecond: 1, imageRecords: 2 } as const
    driver.first.feed({ type: 'pace', pace, nowMs: driver.nowMs })
    driver.readCatalog(6)
    driver.readMutations()
    expect([driver.paused, driver.first.tailsPaused]).toEqual([true, false])
    driver.first.readTail()
    expect(liveJobs(driver)).toHaveLength(8)
    driver.first.feed({ type: 'pace', pace: { ...pace, isPaused: true }, nowMs: driver.nowMs })
    expect(driver.first.tailsPaused).toBe(true)
    driver.first.feed({ type: 'pace', pace, nowMs: driver.nowMs })
    expect([driver.paused, driver.first.tailsPaused]).toEqual([true, false])
  })
})

function boundsOf(some: Partial<DispatchTestDriver['settings']['bounds']>) {
  return { unreadRecords: 1e6, unreadBytes: 1e9, imageRecords: 1e6, imageBytes: 1e9, ...some }
}

describe('garbage collection', () => {
  test('a removal leaves the log when it is old and below the watermark, and the entry goes with it', () => {
    const driver = oneDriver()
    runFirst(driver)
    const removal = driver.publish({ type: 'ItemDeleted', itemId: lamp })
    dispatchAll(driver)
    driver.tick(driver.settings.tombstoneRetentionMs)
    driver.compact()
    expect(driver.durable.mutations.flat().map(({ key }) => key)).toContain(`x:lamp@${removal}`)
    driver.tick(1)
    driver.compact()
    expect(driver.durable.mutations.flat().map(({ key }) => key)).toEqual(['w:0'])
    expect(driver.entry(lamp)).toBeUndefined()
  })

  test('the entry of an item that lives again stays when its old removal leaves the log', () => {
    const driver = oneDriver()
    driver.publish({ type: 'ItemDeleted', itemId: lamp })
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    runAt(driver, offset)
    driver.tick(driver.settings.tombstoneRetentionMs + 1)
    expect(driver.entry(lamp)).toMatchObject({ a: offset, o: offset, removedAtMs: -1 })
    expect(rebuilt(driver).get(lamp)).toMatchObject({ a: offset, o: offset })
  })

  test('the state of a lost item table comes back from catalog and mutation log together', () => {
    const driver = oneDriver()
    const offset = runFirst(driver)
    driver.first.table.clear()
    driver.first.positions.clear()
    driver.crash(() => true)
    driver.readMutations()
    expect(driver.entry(lamp)).toMatchObject({ a: offset, o: offset, image: { state: 'embedded', version: offset } })
    driver.publish(upsertOf(lamp, 'https://a/1', { price: 2 }))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([])
  })
})
