import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { CatalogEvent, ItemUpserted } from '../../schemas/catalog-event.ts'
import { imageIdentity } from '../../schemas/catalog-event.ts'
import { asOffset, asPartition, type ItemId, type Offset, parseItemId } from '../../schemas/ids.ts'
import { registerKey } from '../../schemas/mutation.ts'
import type { TestDispatcher } from './test-dispatcher.ts'
import { DispatchTestDriver } from './test-driver.ts'
import { type DrivenMutation, type FoldedItem, foldRegisters, upsertOf } from './test-records.ts'

const items = ['lamp', 'sofa', 'chair'].map(parseItemId)
const images = ['https://a/1', 'https://a/2', 'https://a/3']

type Action =
  | {
      readonly type: 'upsert'
      readonly item: number
      readonly image: number
      readonly price: number
      readonly refresh: boolean
    }
  | { readonly type: 'delete'; readonly item: number }
  | { readonly type: 'readCatalog' | 'readTail' | 'readMutations'; readonly who: number; readonly count: number }
  | { readonly type: 'flush'; readonly who: number }
  | {
      readonly type: 'run'
      readonly pick: number
      readonly outcome: 'finish' | 'fail' | 'failRetryable'
      readonly duplicate: boolean
    }
  | { readonly type: 'tick'; readonly ms: number }
  | { readonly type: 'crash'; readonly who: number; readonly survives: readonly boolean[] }
  /** The group moves partitions; those who are not told at once go on as zombies until they follow. */
  | { readonly type: 'rebalance'; readonly owners: readonly number[]; readonly told: readonly boolean[] }
  | { readonly type: 'follow'; readonly who: number; readonly redelivers: boolean }
  | { readonly type: 'compact'; readonly part: number }
  | { readonly type: 'flushQueue' | 'compactCatalog' }

const count = fc.integer({ min: 1, max: 5 })
const item = fc.nat(items.length - 1)
const dispatchers = 3
const who = fc.nat(dispatchers - 1)
const actions: Record<Action['type'], { weight: number; arbitrary: fc.Arbitrary<Action> }> = {
  upsert: {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('upsert'),
      item,
      image: fc.nat(images.length - 1),
      price: fc.nat(9),
      refresh: fc.integer({ min: 0, max: 7 }).map(n => n === 0),
    }),
  },
  delete: { weight: 2, arbitrary: fc.record({ type: fc.constant('delete'), item }) },
  readCatalog: { weight: 6, arbitrary: fc.record({ type: fc.constant('readCatalog'), who, count }) },
  readTail: { weight: 3, arbitrary: fc.record({ type: fc.constant('readTail'), who, count }) },
  readMutations: { weight: 6, arbitrary: fc.record({ type: fc.constant('readMutations'), who, count }) },
  flush: { weight: 5, arbitrary: fc.record({ type: fc.constant('flush'), who }) },
  run: {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant('run'),
      pick: fc.nat(100),
      outcome: fc.constantFrom('finish', 'finish', 'finish', 'fail', 'failRetryable'),
      duplicate: fc.boolean(),
    }),
  },
  tick: {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('tick'), ms: fc.constantFrom(50, 150, 1_000, 61_000, 8 * 86_400_000) }),
  },
  crash: {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('crash'),
      who,
      survives: fc.oneof(
        fc.constant([true]),
        fc.constant([false]),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
      ),
    }),
  },
  rebalance: {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('rebalance'),
      owners: fc.tuple(who, who),
      told: fc.array(fc.boolean(), { minLength: dispatchers, maxLength: dispatchers }),
    }),
  },
  follow: { weight: 3, arbitrary: fc.record({ type: fc.constant('follow'), who, redelivers: fc.boolean() }) },
  compact: {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant('compact'), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  compactCatalog: { weight: 1, arbitrary: fc.constant({ type: 'compactCatalog' }) },
  flushQueue: { weight: 1, arbitrary: fc.constant({ type: 'flushQueue' }) },
}
/** What lies in the catalog when the generation begins. */
const backlog = fc.array(fc.oneof(actions.upsert, actions.delete), { maxLength: 12 })
const scenario = fc.array(fc.oneof(...Object.values(actions)), { minLength: 1, maxLength: 60, size: 'max' })

/** Once found: a garbage-collection null lost in a crash brought an item back when its removal had left the log. */
const lostNull: Action[] = [
  { type: 'upsert', item: 1, image: 0, price: 0, refresh: true },
  { type: 'upsert', item: 1, image: 0, price: 0, refresh: true },
  { type: 'readCatalog', who: 0, count: 3 },
  { type: 'crash', who: 0, survives: [true] },
  { type: 'readMutations', who: 0, count: 3 },
  { type: 'delete', item: 1 },
  { type: 'crash', who: 0, survives: [true, false] },
  { type: 'readCatalog', who: 0, count: 3 },
  { type: 'tick', ms: 8 * 86_400_000 },
  { type: 'readMutations', who: 0, count: 1 },
]

/** Once found: a partition that another had for a while, and where nothing was published since, stood still for ever. */
const overtakenAtTheEnd: Action[] = [
  { type: 'readCatalog', who: 0, count: 1 },
  { type: 'rebalance', owners: [0, 2], told: [false, false, false] },
  { type: 'follow', who: 2, redelivers: false },
  { type: 'rebalance', owners: [0, 0], told: [true, false, false] },
  { type: 'flush', who: 0 },
  { type: 'rebalance', owners: [0, 2], told: [false, false, false] },
  { type: 'follow', who: 2, redelivers: true },
  { type: 'readMutations', who: 0, count: 1 },
]

function act(driver: DispatchTestDriver, action: Action): void {
  switch (action.type) {
    case 'upsert': {
      const { price, refresh } = action
      driver.publish(upsertOf(items[action.item]!, images[action.image]!, { price, refresh }))
      return
    }
    case 'delete':
      driver.publish({ type: 'ItemDeleted', itemId: items[action.item]! })
      return
    case 'readCatalog':
      driver.dispatcher(action.who).readCatalog(action.count)
      return
    case 'readTail':
      driver.dispatcher(action.who).readTail(action.count)
      return
    case 'readMutations':
      driver.dispatcher(action.who).readMutations(action.count)
      return
    case 'flush':
      driver.dispatcher(action.who).flush()
      return
    case 'rebalance':
      driver.rebalance(action.owners)
      for (const [number, isTold] of action.told.entries()) if (isTold) driver.dispatcher(number).follow()
      return
    case 'follow':
      driver.dispatcher(action.who).follow(action.redelivers)
      return
    case 'run':
      run(driver, action)
      return
    case 'tick':
      // The retention of removals is the horizon of late results: no job outlives it.
      if (action.ms > driver.settings.tombstoneRetentionMs) {
        endLateWork(driver)
        driver.durable.queue.clear()
      }
      driver.tick(action.ms)
      return
    case 'crash': {
      let piece = 0
      driver.dispatcher(action.who).crash(() => action.survives[piece++ % action.survives.length]!)
      return
    }
    case 'compact':
      driver.compact(action.part)
      return
    case 'compactCatalog':
      endLateWork(driver)
      driver.compactCatalog()
      return
    case 'flushQueue':
      driver.durable.queue.clear()
      driver.durable.hints.clear()
  }
}

/** An hour goes by, `min.compaction.lag`: no write takes so long, no zombie lives so long, nothing waits so long to be read back. */
function endLateWork(driver: DispatchTestDriver): void {
  driver.flush()
  for (const dispatcher of driver.dispatchers) {
    dispatcher.follow()
    dispatcher.readMutations()
    dispatcher.flush()
  }
}

function run(driver: DispatchTestDriver, { pick, outcome, duplicate }: Extract<Action, { type: 'run' }>): void {
  const ids = driver.jobIds()
  if (ids.length === 0) return
  const id = ids[pick % ids.length]!
  const dropped = driver.isSuperseded(driver.durable.queue.get(id)!)
  driver.runJob(id, dropped ? 'drop' : outcome, { duplicate })
}

const maxRounds = 40

/** Everything is read, run and written until nothing more happens. Returns after how many rounds. */
function settle(driver: DispatchTestDriver): number {
  for (const dispatcher of driver.dispatchers) dispatcher.follow()
  const readAndFlush = (read: (dispatcher: TestDispatcher) => void) => {
    driver.dispatchers.forEach(read)
    driver.flush()
  }
  for (let round = 0; round < maxRounds; round++) {
    readAndFlush(dispatcher => dispatcher.readTail())
    readAndFlush(dispatcher => dispatcher.readCatalog())
    readAndFlush(dispatcher => dispatcher.readMutations())
    for (const id of driver.jobIds())
      driver.runJob(id, driver.isSuperseded(driver.durable.queue.get(id)!) ? 'drop' : 'finish')
    readAndFlush(dispatcher => dispatcher.readMutations())
    driver.tick(61_000)
    driver.flush()
    const isDone = driver.catalog.every((records, partition) => {
      const { window } = driver.ownerOf(asPartition(partition)).state.partitions.get(asPartition(partition))!
      return window.position === records.length && window.lowWater === records.length
    })
    if (isDone && driver.jobIds().length === 0) {
      readAndFlush(dispatcher => dispatcher.readMutations())
      return round
    }
  }
  throw new Error(`after ${maxRounds} rounds there is still something to do`)
}

interface Expected {
  readonly offset: number
  readonly identity: string
}

/** The sequential fold of the events: per item that lives, its last version and image. */
function foldEvents(driver: DispatchTestDriver): ReadonlyMap<ItemId, Expected> {
  const expected = new Map<ItemId, Expected>()
  for (const { offset, event } of driver.catalog.flatMap(itemEvents))
    if (event.type === 'ItemDeleted') expected.delete(event.itemId)
    else expected.set(event.itemId, { offset, identity: imageIdentity(event) })
  return expected
}

function expectFold(driver: DispatchTestDriver, folded: ReadonlyMap<ItemId, FoldedItem>, failures: boolean): void {
  const expected = foldEvents(driver)
  expect(new Set(folded.keys())).toEqual(new Set(expected.keys()))
  for (const [itemId, { offset, identity }] of expected) {
    const held = folded.get(itemId)!
    expect(held.a).toBe(offset)
    if (held.f >= 0 && failures) expect(held.failedIdentity).toBe(identity)
    else expect(held).toMatchObject({ identity, f: -1 })
  }
}

test.each([
  ['one dispatcher', 1],
  ['a group of dispatchers', dispatchers],
])(
  '%s, whatever the order, crashes, rebalances and compactions: the sequential fold, and all completes',
  (_, count) => {
    fc.assert(
      fc.property(backlog, scenario, (before, after) => {
        const driver = driverWithBacklog(before, count)
        const script = [...before, ...after]
        const watched = new WatermarkWatch(driver)
        let jobs = 0
        driver.onJobs = added => {
          jobs += added.length
        }
        for (const action of after) {
          act(driver, action)
          watched.check()
        }
        const rounds = settle(driver)
        watched.check()
        expect(jobs).toBeLessThanOrEqual(mostJobs(script, rounds))
        const failures = script.some(action => action.type === 'run' && action.outcome !== 'finish')
        expectFold(driver, foldRegisters(driver.history), failures)
        expectUniqueKeys(driver.history)
        expectCompleted(driver)
        jobs = 0
        driver.rebalance([1, 2])
        settle(driver)
        expect(jobs).toBe(0)
        driver.compact()
        expect(foldRegisters(driver.durable.mutations.flat())).toEqual(foldRegisters(driver.history))
        expectCompleted(driver)
      }),
      { numRuns: 2_500, examples: [lostNull, overtakenAtTheEnd].map(script => [[], script]) },
    )
  },
)

/** Dispatchers begin when the backlog lies in the catalog: all that comes after it is live, and read beside it. */
function driverWithBacklog(backlog: readonly Action[], dispatchers: number): DispatchTestDriver {
  const backfillUntil: Offset[] = []
  const driver = new DispatchTestDriver({ dispatchers, heldWrites: true, settings: { backfillUntil } })
  for (const action of backlog) act(driver, action)
  backfillUntil.push(...driver.catalogEnds.values())
  for (const dispatcher of driver.dispatchers) dispatcher.restart()
  return driver
}

/** An event's job is issued when the event is read: again when another reads it, and when it is overdue. */
function mostJobs(script: readonly Action[], rounds: number): number {
  const events = script.filter(({ type }) => type === 'upsert').length
  const chances = script.filter(({ type }) => ['crash', 'rebalance', 'follow', 'tick'].includes(type)).length
  return events * (1 + dispatchers * (chances + rounds))
}

function expectCompleted(driver: DispatchTestDriver): void {
  for (const [partition, records] of driver.catalog.entries())
    expect(driver.lastWatermark(asPartition(partition))).toMatchObject({
      offset: records.length - 1,
      endOffset: records.length,
      oldestPendingTimeMs: null,
    })
}

test('without a crash the log keeps exactly what counts: a record per live register and the removals', () => {
  fc.assert(
    fc.property(scenario, script => {
      const driver = new DispatchTestDriver()
      for (const action of script) if (action.type !== 'crash') act(driver, action)
      settle(driver)
      driver.compact()
      const kept = driver.durable.mutations.flat().map(({ key }) => key)
      const counts = [...foldRegisters(driver.history)].flatMap(([itemId, { a, o, f }]) =>
        Object.entries({ a, o, f }).flatMap(([register, offset]) =>
          offset < 0 ? [] : [registerKey(register as 'a' | 'o' | 'f', itemId, asOffset(offset))],
        ),
      )
      expect(kept.filter(key => !/^[wx]:/.test(key)).sort()).toEqual(counts.sort())
    }),
    { numRuns: 500 },
  )
})

test('the same inputs give the same effects', () => {
  fc.assert(
    fc.property(scenario, script => {
      const [one, other] = [new DispatchTestDriver(), new DispatchTestDriver()]
      for (const driver of [one, other]) for (const action of script) act(driver, action)
      expect(one.history).toEqual(other.history)
      expect(one.jobIds()).toEqual(other.jobIds())
    }),
    { numRuns: 100 },
  )
})

/** No watermark may stand above an event that the log, at the moment of its writing, does not hold as complete. */
class WatermarkWatch {
  readonly #driver: DispatchTestDriver
  readonly #versions = new Map<ItemId, { a: number; o: number; x: number; f: number }>()
  #checked = 0

  constructor(driver: DispatchTestDriver) {
    this.#driver = driver
  }

  check(): void {
    const { history } = this.#driver
    for (; this.#checked < history.length; this.#checked++) {
      const { mutation } = history[this.#checked]!
      if (mutation === null) continue
      if (mutation.type === 'Watermark') this.#checkWatermark(mutation.partition, mutation.offset)
      else this.#note(mutation)
    }
  }

  #note(mutation: Exclude<NonNullable<DrivenMutation['mutation']>, { type: 'Watermark' }>): void {
    const held = this.#held(mutation.itemId)
    const register = ({ AttributesPut: 'a', ObjectsPut: 'o', ItemRemoved: 'x', WorkFailed: 'f' } as const)[
      mutation.type
    ]
    held[register] = Math.max(held[register], mutation.version.offset)
    this.#versions.set(mutation.itemId, held)
  }

  #held(itemId: ItemId) {
    return this.#versions.get(itemId) ?? { a: -1, o: -1, x: -1, f: -1 }
  }

  #checkWatermark(partition: number, watermark: number): void {
    const lasts = new Map<ItemId, { readonly last: number; readonly imageSince: number; readonly event: ItemEvent }>()
    const events = itemEvents(this.#driver.catalog[partition]!).filter(({ offset }) => offset <= watermark)
    for (const { offset, event } of events) {
      const before = lasts.get(event.itemId)
      const isSame =
        before?.event.type === 'ItemUpserted' && event.type === 'ItemUpserted' && isUnchanged(before.event, event)
      lasts.set(event.itemId, { last: offset, imageSince: isSame ? before.imageSince : offset, event })
    }
    const isWhole = events.every(({ offset }) => this.#driver.isInCatalog(asPartition(partition), asOffset(offset)))
    for (const [itemId, { last, imageSince, event }] of lasts) {
      // Who no longer exists cannot be asked for.
      if (!this.#driver.isInCatalog(asPartition(partition), asOffset(last))) continue
      const { a, o, x, f } = this.#held(itemId)
      if (event.type === 'ItemDeleted') expect(x, `removal of ${itemId} at ${last}`).toBeGreaterThanOrEqual(last)
      else {
        expect(Math.max(a, x), `attributes of ${itemId} at ${last}`).toBeGreaterThanOrEqual(last)
        // With events gone, the dispatcher may take an image for unchanged that was changed and changed back.
        const since = isWhole ? imageSince : 1
        expect(Math.max(o, f, x), `image of ${itemId} since ${since}`).toBeGreaterThanOrEqual(since)
      }
    }
  }
}

type ItemEvent = Exclude<CatalogEvent, { type: 'TopicEpoch' }>

function itemEvents(records: DispatchTestDriver['catalog'][number]) {
  const events: { readonly offset: number; readonly event: ItemEvent }[] = []
  for (const { record, content } of records)
    if (content.kind === 'event' && content.event.type !== 'TopicEpoch')
      events.push({ offset: record.offset, event: content.event })
  return events
}

/** Log compaction may take a `refresh` away with its event: only the identity is certain. */
function isUnchanged(before: ItemUpserted, event: ItemUpserted): boolean {
  return imageIdentity(before) === imageIdentity(event)
}

function expectUniqueKeys(history: readonly DrivenMutation[]): void {
  const contents = new Map<string, string>()
  for (const { key, mutation } of history) {
    if (mutation === null || mutation.type === 'Watermark') continue
    const content = JSON.stringify([mutation.type, mutation.itemId, mutation.version])
    expect(contents.get(key) ?? content).toBe(content)
    contents.set(key, content)
  }
}
