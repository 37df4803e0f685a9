import { describe, expect, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { DispatchTestDriver } from './test-driver.ts'
import { identityOf, jobIdAt, objectsOf, upsertOf } from './test-records.ts'
import {
  dispatchAll,
  failedFirst,
  lamp,
  oneDriver,
  rebuilt,
  runAt,
  runFirst,
  sofa,
  watermarkOf,
  zero,
} from './test-scenario.ts'

describe('superseding', () => {
  test('a late old result after a newer one is not in a shard rebuilt from the compacted log', () => {
    const driver = oneDriver()
    const first = driver.publish(upsertOf(lamp, 'https://a/1'))
    const second = driver.publish(upsertOf(lamp, 'https://a/2'))
    dispatchAll(driver)
    runAt(driver, second)
    runAt(driver, first)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ a: second, o: second, identity: identityOf('https://a/2') })
    expect(driver.durable.mutations.flat().map(({ key }) => key)).not.toContain(`o:lamp@${first}`)
    expect(watermarkOf(driver)).toBe(second)
  })

  test('a price change while the image is pending makes no second job and leaves its vectors good', () => {
    const driver = oneDriver()
    const picture = driver.publish(upsertOf(lamp, 'https://a/1', { price: 1 }))
    const price = driver.publish(upsertOf(lamp, 'https://a/1', { price: 2 }))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, picture)])
    const job = driver.durable.queue.get(jobIdAt(zero, picture))!
    expect(driver.isSuperseded(job)).toBe(false)
    runAt(driver, picture)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ a: price, o: picture, f: -1 })
    expect(watermarkOf(driver)).toBe(price)
  })

  test('an item whose image changes 20 times a second still appears', () => {
    const driver = oneDriver()
    const embedMs = 2_000
    let running: { readonly id: string; readonly doneAtMs: number } | null = null
    let firstSeenMs = -1
    const startMs = driver.nowMs
    for (let change = 0; change < 400; change++) {
      driver.publish(upsertOf(lamp, `https://a/${change}`))
      driver.tick(50)
      dispatchAll(driver)
      if (running && driver.nowMs >= running.doneAtMs) {
        driver.runJob(running.id, 'finish')
        driver.readMutations()
        if (firstSeenMs < 0 && driver.entry(lamp)!.o >= 0) firstSeenMs = driver.nowMs - startMs
        running = null
      }
      while (running === null) {
        const id = driver.jobIds()[0]
        if (id === undefined) break
        if (driver.isSuperseded(driver.durable.queue.get(id)!, 5_000)) driver.runJob(id, 'drop')
        else running = { id, doneAtMs: driver.nowMs + embedMs }
      }
    }
    expect(firstSeenMs).toBeGreaterThan(0)
    expect(firstSeenMs).toBeLessThanOrEqual(5_000 + 2 * embedMs)
  })

  test('a delete beats an older embedding that finishes later', () => {
    const driver = oneDriver()
    const upsert = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    const removal = driver.publish({ type: 'ItemDeleted', itemId: lamp })
    dispatchAll(driver)
    runAt(driver, upsert)
    expect(rebuilt(driver).has(lamp)).toBe(false)
    expect(
      driver.durable.mutations
        .flat()
        .map(({ key }) => key)
        .sort(),
    ).toEqual(['w:0', `x:lamp@${removal}`])
    expect(watermarkOf(driver)).toBe(removal)
  })

  test('a re-created item never gets the objects of before its removal', () => {
    const driver = oneDriver()
    const before = driver.publish(upsertOf(lamp, 'https://a/1'))
    driver.publishTo(zero, lamp, { kind: 'tombstone' })
    const after = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    expect(driver.jobIds()).toContain(jobIdAt(zero, after))
    runAt(driver, before)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ a: after, o: -1 })
    runAt(driver, after)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ a: after, o: after })
  })

  test('the hint rises only when an older job may exist', () => {
    const driver = oneDriver()
    const first = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    expect(driver.durable.hints.has(lamp)).toBe(false)
    const second = driver.publish(upsertOf(lamp, 'https://a/2'))
    dispatchAll(driver)
    expect(driver.durable.hints.get(lamp)).toBe(second)
    expect(driver.isSuperseded(driver.durable.queue.get(jobIdAt(zero, first))!)).toBe(true)
  })
})

describe('what makes a job', () => {
  test('a crash that keeps the item table and loses the enqueue', () => {
    const driver = oneDriver({ heldWrites: true })
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    driver.readCatalog()
    driver.flush()
    driver.durable.queue.clear()
    driver.crash(piece => piece === 'table')
    expect(driver.entry(lamp)!.image).toMatchObject({ state: 'pending', version: offset })
    expect(driver.jobIds()).toEqual([])
    driver.readCatalog()
    driver.flush()
    expect(driver.jobIds()).toEqual([jobIdAt(zero, offset)])
  })

  test('the same image sent again after a failure', () => {
    const driver = oneDriver()
    const failed = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    runAt(driver, failed, 'fail')
    expect(driver.entry(lamp)!.image.state).toBe('failed')
    const again = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, again)])
    runAt(driver, again)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ o: again, f: -1 })
  })

  test('an image that is pending while no event of it waits: log compaction took it away, or a redrive was lost', () => {
    const driver = oneDriver()
    const { job } = failedFirst(driver)
    driver.redrive(job)
    driver.tick(1_000)
    driver.durable.queue.clear()
    driver.crash(() => true)
    expect(driver.entry(lamp)!.image.state).toBe('pending')
    const again = driver.publish(upsertOf(lamp, 'https://a/1', { price: 2 }))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, again)])
  })

  test('the same embedded image only when a refresh is asked for', () => {
    const driver = oneDriver()
    runFirst(driver)
    driver.publish(upsertOf(lamp, 'https://a/1', { price: 2 }))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([])
    const refresh = driver.publish(upsertOf(lamp, 'https://a/1', { refresh: true }))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, refresh)])
  })

  test('a queue that forgot its jobs, once they are overdue', () => {
    const driver = oneDriver()
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    driver.durable.queue.clear()
    driver.tick(driver.settings.overdueMs)
    expect(driver.jobIds()).toEqual([])
    driver.tick(1)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, offset)])
  })

  test('work below the backfill bound has backfill priority, the rest that of the instance', () => {
    const priorities = (settings: object) => {
      const driver = oneDriver({ settings })
      const seen: string[] = []
      driver.onJobs = jobs => seen.push(...jobs.map(({ priority }) => priority))
      driver.publish(upsertOf(lamp, 'https://a/1'))
      driver.publish(upsertOf(sofa, 'https://a/1'))
      driver.readCatalog()
      return seen
    }
    expect(priorities({ backfillUntil: [asOffset(2)] })).toEqual(['backfill', 'live'])
    expect(priorities({ backfillUntil: [asOffset(2)], priority: 'standby' })).toEqual(['backfill', 'standby'])
  })
})

describe('completion', () => {
  test('one image host at 503 stops nobody: its failures let the watermark pass, others go on meanwhile', () => {
    const driver = new DispatchTestDriver({ partitionCount: 1 })
    const slow = driver.publish(upsertOf(lamp, 'https://busy/1'))
    const quick = driver.publish(upsertOf(sofa, 'https://a/1'))
    dispatchAll(driver)
    runAt(driver, quick)
    const removed = driver.publish({ type: 'ItemDeleted', itemId: sofa })
    dispatchAll(driver)
    expect(driver.entry(sofa)).toMatchObject({ x: removed })
    expect(watermarkOf(driver)).toBe(slow - 1)
    driver.tick(30_000)
    const job = driver.durable.queue.get(jobIdAt(zero, slow))!
    driver.runJob(jobIdAt(zero, slow), 'failRetryable')
    driver.readMutations()
    expect(watermarkOf(driver)).toBe(removed)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ f: slow })
    driver.append(zero, objectsOf(job))
    driver.readMutations()
    expect(driver.entry(lamp)!.image.state).toBe('embedded')
    expect(rebuilt(driver).get(lamp)).toMatchObject({ o: slow, f: -1 })
  })

  test('neither enqueue nor append completes an event, only what is read back', () => {
    const driver = oneDriver()
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    driver.readCatalog()
    expect(watermarkOf(driver)).toBe(0)
    driver.runJob(jobIdAt(zero, offset), 'finish')
    expect(watermarkOf(driver)).toBe(0)
    driver.readMutations()
    expect(watermarkOf(driver)).toBe(offset)
    expect(driver.durable.commits.get(zero)).toBe(offset + 1)
  })

  test('attributes that a broker acknowledged and lost are appended again', () => {
    const driver = oneDriver()
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    driver.readCatalog()
    driver.durable.mutations[0] = []
    driver.readMutations()
    driver.tick(driver.settings.overdueMs + 1)
    driver.readMutations()
    expect(driver.entry(lamp)!.a).toBe(offset)
  })

  test('the age counts from the oldest incomplete event, else from what waits to be read', () => {
    const driver = oneDriver()
    driver.readCatalog()
    const publishedAtMs = driver.nowMs
    driver.publish(upsertOf(lamp, 'https://a/1'))
    driver.tick(1_000)
    driver.tick(1_000)
    expect(driver.lastWatermark(zero)).toMatchObject({ oldestPendingTimeMs: publishedAtMs + 1_000, endOffset: 2 })
    driver.readCatalog()
    driver.tick(1_000)
    expect(driver.lastWatermark(zero)).toMatchObject({ oldestPendingTimeMs: publishedAtMs })
  })

  test('watermarks: soon when there is progress, once a second when there is none', () => {
    const driver = oneDriver()
    driver.readCatalog()
    const written = () => driver.history.filter(({ key }) => key === 'w:0').length
    driver.tick(1_000)
    const before = written()
    for (let i = 0; i < 30; i++) driver.tick(100)
    expect(written() - before).toBe(3)
    runFirst(driver)
    const progressed = written()
    driver.tick(100)
    expect(written() - progressed).toBe(1)
  })
})

test('partitions that are lost are forgotten, those that stay keep their windows', () => {
  const driver = new DispatchTestDriver({ partitionCount: 2, dispatchers: 2 })
  const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
  driver.readCatalog()
  const kept = partitionOf(lamp, 2)
  driver.rebalance([0, 1].map(partition => (partition === kept ? 0 : 1)))
  driver.first.follow()
  expect([...driver.state.partitions.keys()]).toEqual([kept])
  driver.runJob(jobIdAt(kept, offset), 'finish')
  driver.readMutations()
  expect(watermarkOf(driver, kept)).toBe(offset)
})
