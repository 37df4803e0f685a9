import { describe, expect, test } from 'vitest'
import { asPartition, type Fingerprint, type TopicEpoch } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { DispatchTestDriver } from './test-driver.ts'
import { identityOf, jobIdAt, objectsOf, testEpoch, upsertOf } from './test-records.ts'
import { dispatchAll, failedFirst, lamp, oneDriver, rebuilt, runAt, sofa, watermarkOf, zero } from './test-scenario.ts'

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
    expect(watermarkOf(driver)).toBe(offset)
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
    expect(watermarkOf(driver, home)).toBe(last)
    expect(watermarkOf(driver, elsewhere)).toBe(1)
  })

  test('an event too large to be passed on is refused, and its letter is cut to what fits', () => {
    const driver = oneDriver()
    const event = upsertOf(lamp, `https://a/${'x'.repeat(1_000_000)}`)
    const offset = driver.publishTo(zero, lamp, { kind: 'event', event }, Buffer.alloc(1_000_000))
    driver.readCatalog()
    const letter = driver.durable.letters[0]!.letter
    expect(letter).toMatchObject({ code: 'record-too-large', key: Buffer.from(lamp) })
    expect(letter.value!.length).toBeLessThan(1_000_000)
    expect(watermarkOf(driver)).toBe(offset)
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
    expect(watermarkOf(driver)).toBe(offset)
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
