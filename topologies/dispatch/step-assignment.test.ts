import { expect, test } from 'vitest'
import type { TestDispatcher } from './test-dispatcher.ts'
import { DispatchTestDriver } from './test-driver.ts'
import { identityOf, jobIdAt, upsertOf } from './test-records.ts'
import { lamp, rebuilt, sofa, zero } from './test-scenario.ts'

/** One partition and two dispatchers, of which the first has it; both know the lamp's first picture, embedded at 2. */
function twoWhoKnowTheLamp() {
  const driver = new DispatchTestDriver({ partitionCount: 1, dispatchers: 2 })
  const [one, other] = driver.dispatchers as [TestDispatcher, TestDispatcher]
  driver.publish(upsertOf(sofa, 'https://a/1'))
  driver.publish(upsertOf(lamp, 'https://a/1'))
  readAll(one)
  for (const id of driver.jobIds()) driver.runJob(id, 'finish')
  readAll(one)
  move(driver, one, other)
  move(driver, other, one)
  expect([one, other].map(dispatcher => dispatcher.entry(lamp)?.image.state)).toEqual(['embedded', 'embedded'])
  return { driver, one, other }
}

function readAll(dispatcher: TestDispatcher): void {
  dispatcher.readMutations()
  dispatcher.readCatalog()
  dispatcher.readMutations()
}

function move(driver: DispatchTestDriver, from: TestDispatcher, to: TestDispatcher): void {
  driver.rebalance([driver.dispatchers.indexOf(to)])
  from.follow()
  to.follow()
  readAll(to)
}

const removal = { type: 'ItemDeleted', itemId: lamp } as const

test('a gained partition is read only after its mutation log: what was removed meanwhile is embedded again', () => {
  const { driver, one, other } = twoWhoKnowTheLamp()
  driver.publish(removal)
  readAll(one)
  const again = driver.publish(upsertOf(lamp, 'https://a/1'))
  driver.rebalance([1])
  one.follow()
  other.follow()
  other.readCatalog()
  expect(driver.jobIds()).toEqual([])
  readAll(other)
  expect(driver.jobIds()).toEqual([jobIdAt(zero, again)])
})

test('so is one that another had in between, unnoticed, and its commit does not go back', () => {
  const { driver, one, other } = twoWhoKnowTheLamp()
  driver.rebalance([1])
  other.follow()
  driver.publish(removal)
  readAll(other)
  const committed = driver.durable.commits.get(zero)!
  const again = driver.publish(upsertOf(lamp, 'https://a/1'))
  driver.rebalance([0])
  one.follow(true)
  one.readCatalog()
  expect(driver.jobIds()).toEqual([])
  readAll(one)
  expect(driver.jobIds()).toEqual([jobIdAt(zero, again)])
  expect(driver.durable.commits.get(zero)).toBe(committed)
})

test('a table from before a removal that was collected since is made anew', () => {
  const { driver, one, other } = twoWhoKnowTheLamp()
  driver.publish(removal)
  readAll(one)
  driver.tick(driver.settings.tombstoneRetentionMs + 1)
  one.readMutations()
  driver.compact()
  expect(driver.durable.mutations.flat().filter(({ key }) => key.includes(lamp))).toEqual([])
  const again = driver.publish(upsertOf(lamp, 'https://a/1'))
  move(driver, one, other)
  expect(driver.jobIds()).toEqual([jobIdAt(zero, again)])
})

test('no job is started for an item that is deleted, however old the table and whatever is compacted', () => {
  const { driver, one, other } = twoWhoKnowTheLamp()
  driver.publish(upsertOf(lamp, 'https://a/2'))
  driver.publish(removal)
  one.readCatalog()
  driver.durable.queue.clear()
  driver.compactCatalog()
  move(driver, one, other)
  expect(driver.jobIds()).toEqual([])
  driver.tick(driver.settings.tombstoneRetentionMs + 1)
  other.readMutations()
  driver.compact()
  move(driver, other, one)
  expect(driver.jobIds()).toEqual([])
  expect(rebuilt(driver).has(lamp)).toBe(false)
})

test('the late result of an event that nobody can read again does not stand above the image that came back', () => {
  const { driver, one, other } = twoWhoKnowTheLamp()
  const lost = driver.publish(upsertOf(lamp, 'https://a/2'))
  readAll(one)
  const back = driver.publish(upsertOf(lamp, 'https://a/1'))
  driver.compactCatalog()
  expect(driver.isInCatalog(zero, lost)).toBe(false)
  move(driver, one, other)
  expect(driver.jobIds()).toEqual([jobIdAt(zero, lost), jobIdAt(zero, back)])
  for (const id of [jobIdAt(zero, back), jobIdAt(zero, lost)]) driver.runJob(id, 'finish')
  readAll(other)
  expect(rebuilt(driver).get(lamp)).toMatchObject({ o: back, identity: identityOf('https://a/1') })
})

test('a zombie writes what any owner would, but no commit, and no watermark once it knows', () => {
  const { driver, one, other } = twoWhoKnowTheLamp()
  driver.rebalance([1])
  other.follow()
  other.readMutations()
  const price = driver.publish(upsertOf(lamp, 'https://a/1', { price: 2 }))
  const committed = driver.durable.commits.get(zero)!
  readAll(one)
  expect(driver.history.map(({ key }) => key)).toContain(`a:lamp@${price}`)
  expect(driver.durable.commits.get(zero)).toBe(committed)
  readAll(other)
  expect(driver.durable.commits.get(zero)).toBe(price + 1)
  expect(rebuilt(driver).get(lamp)).toMatchObject({ a: price, o: 2, f: -1 })
  one.follow()
  const watermarks = () => driver.history.filter(({ key }) => key === 'w:0').length
  const before = watermarks()
  driver.tick(1_000)
  expect(watermarks() - before).toBe(1)
})
