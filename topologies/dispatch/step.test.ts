import { describe, expect, test } from 'vitest'
import {
  asOffset,
  asPartition,
  type Fingerprint,
  type Offset,
  parseItemId,
  type TopicEpoch,
} from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import {
  DispatchTestDriver,
  foldRegisters,
  identityOf,
  jobIdAt,
  objectsOf,
  testEpoch,
  upsertOf,
} from './test-driver.ts'

const lamp = parseItemId('lamp')
const sofa = parseItemId('sofa')
const zero = asPartition(0)

/** One partition, so that every item is in it and offsets are easy to name: the marker is 0, the first event 1. */
function oneDriver(options: ConstructorParameters<typeof DispatchTestDriver>[0] = {}): DispatchTestDriver {
  return new DispatchTestDriver({ partitionCount: 1, ...options })
}

function dispatchAll(driver: DispatchTestDriver): void {
  driver.readCatalog()
  driver.readMutations()
}

function runAt(
  driver: DispatchTestDriver,
  offset: Offset,
  outcome: 'finish' | 'fail' | 'failRetryable' = 'finish',
): void {
  driver.runJob(jobIdAt(zero, offset), outcome)
  driver.readMutations()
}

/** The watermark as it would be written now. */
function watermark(driver: DispatchTestDriver, partition = zero): number {
  driver.tick(1_000)
  return driver.lastWatermark(partition)!.offset
}

function rebuilt(driver: DispatchTestDriver) {
  driver.compact()
  return foldRegisters(driver.durable.mutations.flat())
}

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
    expect(watermark(driver)).toBe(second)
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
    expect(watermark(driver)).toBe(price)
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
    expect(watermark(driver)).toBe(removal)
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

function runFirst(driver: DispatchTestDriver): Offset {
  const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
  dispatchAll(driver)
  runAt(driver, offset)
  return offset
}

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
    expect(watermark(driver)).toBe(slow - 1)
    driver.tick(30_000)
    const job = driver.durable.queue.get(jobIdAt(zero, slow))!
    driver.runJob(jobIdAt(zero, slow), 'failRetryable')
    driver.readMutations()
    expect(watermark(driver)).toBe(removed)
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
    expect(watermark(driver)).toBe(0)
    driver.runJob(jobIdAt(zero, offset), 'finish')
    expect(watermark(driver)).toBe(0)
    driver.readMutations()
    expect(watermark(driver)).toBe(offset)
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

function boundsOf(some: Partial<DispatchTestDriver['settings']['bounds']>) {
  return { unreadRecords: 1e6, unreadBytes: 1e9, imageRecords: 1e6, imageBytes: 1e9, ...some }
}

describe('refusals', () => {
  test('a refused result runs again three times, then becomes the failure of the item, with a dead letter', () => {
    const driver = oneDriver()
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    const job = driver.durable.queue.get(jobIdAt(zero, offset))!
    const foreign = objectsOf(job, 'e'.repeat(64) as Fingerprint)
    for (const expectedId of ['', '-r1', '-r2', '-r3']) {
      expect(driver.jobIds()).toEqual([jobIdAt(zero, offset) + expectedId])
      driver.runJob(driver.jobIds()[0]!, 'drop')
      driver.append(zero, foreign)
      driver.readMutations()
    }
    expect(driver.jobIds()).toEqual([])
    driver.readMutations()
    expect(driver.entry(lamp)).toMatchObject({ f: offset, o: -1, image: { state: 'failed' } })
    expect(driver.history.find(({ key }) => key === `f:lamp@${offset}`)?.mutation).toMatchObject({
      stage: 'dispatch',
      code: 'fingerprint-mismatch',
      retryable: false,
      attempts: 4,
    })
    expect(driver.durable.letters).toMatchObject([{ letter: { code: 'fingerprint-mismatch', job: { itemId: lamp } } }])
    expect(watermark(driver)).toBe(offset)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ f: offset, o: -1 })
  })

  test('a refused record leaves the log once a good one of a newer version has beaten it, and not before', () => {
    const driver = oneDriver()
    const first = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    const job = driver.durable.queue.get(jobIdAt(zero, first))!
    driver.append(zero, objectsOf(job, 'e'.repeat(64) as Fingerprint))
    driver.readMutations()
    expect(driver.history.some(({ key, mutation }) => key === `o:lamp@${first}` && mutation === null)).toBe(false)
    const second = driver.publish(upsertOf(lamp, 'https://a/2'))
    dispatchAll(driver)
    runAt(driver, second)
    driver.compact()
    expect(driver.durable.mutations.flat().map(({ key }) => key)).not.toContain(`o:lamp@${first}`)
  })

  test('a result of another topic epoch counts for nothing, and starts nothing', () => {
    const driver = oneDriver()
    const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
    dispatchAll(driver)
    const job = driver.durable.queue.get(jobIdAt(zero, offset))!
    driver.append(zero, { ...objectsOf(job), version: { epoch: 'ffffffffffffffff' as TopicEpoch, offset } })
    driver.readMutations()
    expect(driver.entry(lamp)!.o).toBe(-1)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, offset)])
    expect(driver.state.counts.refused).toBe(1)
  })

  test('records that cannot be applied go to the dead letters with their bytes, and the partition advances', () => {
    const driver = new DispatchTestDriver({ partitionCount: 2 })
    const home = partitionOf(lamp, 2)
    const elsewhere = asPartition(1 - home)
    driver.publishTo(elsewhere, lamp, { kind: 'event', event: upsertOf(lamp, 'https://a/1') })
    driver.publishTo(home, null, { kind: 'tombstone' })
    driver.publishTo(home, lamp, { kind: 'undecodable', code: 'schema-unknown', message: 'schema 77' })
    driver.publishTo(home, lamp, { kind: 'event', event: upsertOf(sofa, 'https://a/1') })
    const last = driver.publishTo(home, 'x'.repeat(513), { kind: 'tombstone' })
    driver.readCatalog()
    expect(driver.durable.letters.map(({ letter }) => letter.code)).toEqual(
      home < elsewhere
        ? ['bad-item-id', 'schema-unknown', 'bad-item-id', 'bad-item-id', 'misrouted']
        : ['misrouted', 'bad-item-id', 'schema-unknown', 'bad-item-id', 'bad-item-id'],
    )
    for (const { letter } of driver.durable.letters) {
      const { record } = driver.catalog[letter.sourcePartition]![letter.sourceOffset]!
      expect(letter).toMatchObject({ key: record.key, value: record.value, generation: '', stage: 'dispatch' })
    }
    expect(driver.entry(lamp)).toBeUndefined()
    expect(watermark(driver, home)).toBe(last)
    expect(watermark(driver, elsewhere)).toBe(1)
  })

  test('an event too large to be passed on is refused, and its letter is cut to what fits', () => {
    const driver = oneDriver()
    const event = upsertOf(lamp, `https://a/${'x'.repeat(1_000_000)}`)
    const offset = driver.publishTo(zero, lamp, { kind: 'event', event }, Buffer.alloc(1_000_000))
    driver.readCatalog()
    const letter = driver.durable.letters[0]!.letter
    expect(letter).toMatchObject({ code: 'record-too-large', key: Buffer.from(lamp) })
    expect(letter.value!.length).toBeLessThan(1_000_000)
    expect(watermark(driver)).toBe(offset)
  })

  test('a dead letter that was not written before a crash is written after it', () => {
    const driver = oneDriver({ heldWrites: true })
    driver.publishTo(zero, lamp, { kind: 'undecodable', code: 'record-undecodable', message: '' })
    driver.readCatalog()
    driver.crash(piece => piece !== 'letter')
    expect(driver.durable.commits.get(zero) ?? 0).toBeLessThanOrEqual(1)
    driver.readCatalog()
    driver.flush()
    expect(driver.durable.letters).toHaveLength(1)
    expect(driver.durable.commits.get(zero)).toBe(2)
  })
})

describe('the topic epoch', () => {
  test.each([
    ['another epoch', { kind: 'event', event: { type: 'TopicEpoch', epoch: 'ffffffffffffffff' as TopicEpoch } }],
    ['no marker', { kind: 'event', event: upsertOf(lamp, 'https://a/1') }],
    ['bytes nobody knows', { kind: 'undecodable', code: 'record-undecodable', message: '' }],
  ] as const)('a partition that begins with %s stops the dispatcher', (_, content) => {
    const driver = oneDriver()
    driver.catalog[0] = []
    driver.publishTo(zero, lamp, content)
    driver.readCatalog()
    expect(driver.stop).toMatchObject({ code: 'topic-epoch' })
    driver.publish(upsertOf(sofa, 'https://a/1'))
    driver.readCatalog()
    expect(driver.jobIds()).toEqual([])
  })

  test('a foreign marker later on stops it too, its own again does not', () => {
    const driver = oneDriver()
    driver.publishTo(zero, null, { kind: 'event', event: { type: 'TopicEpoch', epoch: testEpoch } })
    driver.readCatalog()
    expect(driver.stop).toBeNull()
    driver.publishTo(zero, null, {
      kind: 'event',
      event: { type: 'TopicEpoch', epoch: 'ffffffffffffffff' as TopicEpoch },
    })
    driver.readCatalog()
    expect(driver.stop).toMatchObject({ code: 'topic-epoch' })
  })
})

describe('redrive', () => {
  test('runs the job again at its version, and its objects beat the failure of the same version', () => {
    const driver = oneDriver()
    const { job, offset } = failedFirst(driver)
    expect(driver.redrive(job)).toBe('queued')
    expect(driver.entry(lamp)!.image.state).toBe('pending')
    expect(driver.jobIds()).toEqual([jobIdAt(zero, offset)])
    runAt(driver, offset)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ o: offset, f: -1 })
    expect(driver.redrive(job)).toBe('done')
  })

  test('after a newer upsert or a delete it is a no-op', () => {
    for (const newer of [upsertOf(lamp, 'https://a/2'), { type: 'ItemDeleted', itemId: lamp } as const]) {
      const driver = oneDriver()
      const { job } = failedFirst(driver)
      driver.publish(newer)
      driver.readCatalog()
      const jobs = driver.jobIds()
      expect(driver.redrive(job)).toBe('superseded')
      expect(driver.jobIds()).toEqual(jobs)
    }
  })

  test('holds no watermark back, and is issued again when overdue', () => {
    const driver = oneDriver()
    const { job, offset } = failedFirst(driver)
    driver.redrive(job)
    expect(watermark(driver)).toBe(offset)
    driver.durable.queue.clear()
    driver.tick(driver.settings.overdueMs)
    expect(driver.jobIds()).toEqual([jobIdAt(zero, offset)])
  })

  test('a newer image sent while the redriven job runs takes over', () => {
    const driver = oneDriver()
    const { job, offset } = failedFirst(driver)
    driver.redrive(job)
    const newer = driver.publish(upsertOf(lamp, 'https://a/2'))
    dispatchAll(driver)
    runAt(driver, newer)
    runAt(driver, offset)
    expect(rebuilt(driver).get(lamp)).toMatchObject({ o: newer, identity: identityOf('https://a/2') })
    driver.tick(2 * driver.settings.overdueMs)
    expect(driver.jobIds()).toEqual([])
  })

  test('a job of another topic epoch is foreign', () => {
    const driver = oneDriver()
    const { job, offset } = failedFirst(driver)
    expect(driver.redrive({ ...job, version: { epoch: 'ffffffffffffffff' as TopicEpoch, offset } })).toBe('foreign')
  })
})

function failedFirst(driver: DispatchTestDriver) {
  const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
  dispatchAll(driver)
  const job = driver.durable.queue.get(jobIdAt(zero, offset))!
  runAt(driver, offset, 'fail')
  return { job, offset }
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
    driver.durable.table.clear()
    driver.durable.positions.clear()
    driver.crash(() => true)
    driver.readMutations()
    expect(driver.entry(lamp)).toMatchObject({ a: offset, o: offset, image: { state: 'embedded', version: offset } })
    driver.publish(upsertOf(lamp, 'https://a/1', { price: 2 }))
    dispatchAll(driver)
    expect(driver.jobIds()).toEqual([])
  })
})

test('partitions that are lost are forgotten, those that stay keep their windows', () => {
  const driver = new DispatchTestDriver({ partitionCount: 2 })
  const offset = driver.publish(upsertOf(lamp, 'https://a/1'))
  driver.readCatalog()
  const kept = partitionOf(lamp, 2)
  driver.reassign([kept])
  expect([...driver.state.partitions.keys()]).toEqual([kept])
  runJobAndReadBack(driver, jobIdAt(kept, offset))
  expect(watermark(driver, kept)).toBe(offset)
})

function runJobAndReadBack(driver: DispatchTestDriver, id: string): void {
  driver.runJob(id, 'finish')
  driver.readMutations()
}
