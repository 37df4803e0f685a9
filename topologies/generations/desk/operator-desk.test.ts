import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { asPartition, type Generation } from '../../../schemas/ids.ts'
import { controlTopic } from '../../../schemas/topics.ts'
import type { ProofWatch } from './desk-ports.ts'
import type { OperatorDesk } from './operator-desk.ts'
import { DeskFixture, passedReport, StandingReplica } from './testing/desk-fixture.ts'

const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const operator = { by: 'operator-1', reason: 'v2 is better' }
const rival = { by: 'operator-2', reason: 'no, it is not' }

let fixture: DeskFixture
let desk: OperatorDesk

beforeEach(async () => {
  fixture = await DeskFixture.open()
  desk = fixture.desk()
})

afterEach(() => fixture.close())

const recordCount = async () => (await fixture.log.offsets(controlTopic)).get(asPartition(0))!.end
const watch = (more: Partial<ProofWatch> = {}): ProofWatch => ({
  signal: new AbortController().signal,
  onProgress: () => {},
  ...more,
})

/** As far as a g2 that has passed everything. */
async function proven(): Promise<void> {
  fixture.replicas.set('g2', new StandingReplica('g2'))
  await desk.build({ ...operator, model: 'v2' })
  await desk.verify(g2, operator, watch())
  await desk.canary(g2, operator, watch())
}

test('a model is built, proven, switched to, undone and retired', async () => {
  const built = await desk.build({ ...operator, model: 'v2', shards: 1, imagesPerSecond: 9 })
  expect(built).toMatchObject({ id: 'g2', generation: { state: 'building', model: 'v2', startedBy: 'operator-1' } })
  expect(built.generation?.rebuild).toMatchObject({ phase: 'running', imagesPerSecond: 9, done: 0, total: 10 })
  expect(fixture.topics).toEqual(['g2'])
  const replica = new StandingReplica('g2')
  replica.watermark = 2
  fixture.replicas.set('g2', replica)
  await expect(desk.verify(g2, operator, watch())).rejects.toMatchObject({
    code: 'step-refused',
    message: expect.stringContaining('6 of 10 offsets are passed: replica g2-0-a has 4 of 10 offsets still to pass'),
  })
  replica.watermark = 4
  const verified = await desk.verify(g2, operator, watch())
  expect(verified).toMatchObject({ passed: true, against: 'g1', generation: { state: 'canary' } })
  const tried = await desk.canary(g2, operator, watch())
  expect(tried).toMatchObject({ passed: true, measures: passedReport.measures, summary: '1 bounds met' })
  expect(await desk.route(g2, { ...operator, share: 0.05 })).toMatchObject({
    shares: { g1: 0.95, g2: 0.05 },
    generation: { state: 'serving', share: 0.05 },
  })
  expect(await desk.route(g2, { ...operator, share: 1 })).toMatchObject({ shares: { g2: 1 } })
  expect(await desk.verify(g1, operator, watch())).toMatchObject({ passed: true, against: 'g2' })
  expect(await desk.rollback(g2, rival)).toMatchObject({ shares: { g1: 1 }, generation: { state: 'standby' } })
  await expect(desk.retire(g2, operator)).rejects.toMatchObject({ code: 'step-refused' })
  fixture.nowMs += 1_000
  expect(await desk.retire(g2, operator)).toMatchObject({ shares: { g1: 1 }, generation: { state: 'retired' } })
  const { history } = await desk.show(g2)
  expect(history.map(({ summary, by }) => `${by}: ${summary}`)).toEqual([
    'operator-1: g2 retired',
    'operator-2: queries to g1 100%',
    'operator-1: queries to g2 100%',
    'operator-1: queries to g1 95%, g2 5%',
    'operator-1: g2 passed its canary',
    'operator-1: g2 proven to hold the same as g1',
    'operator-1: g2 has caught up',
    'operator-1: g2 started with model v2 in 1 shard, at 9 a second at most',
  ])
  expect(history.every(({ reason, rejected }) => reason !== '' && rejected === null)).toBe(true)
})

describe('evidence', () => {
  test('lies in the control record, in a file, and is told byte for byte', async () => {
    await proven()
    const { certificate, canary } = await desk.show(g2)
    for (const { digest } of [certificate!, canary!]) {
      const text = await fixture.desk({ evidenceDirectory: '/nowhere' }).evidence(g2, digest)
      expect(createHash('sha256').update(text).digest('hex')).toBe(digest)
      expect(await readFile(join(fixture.directory, 'evidence', `${digest}.json`), 'utf8')).toBe(text)
    }
    expect(certificate).toMatchObject({ by: 'operator-1', against: 'g1', summary: '0 items are the same in g2 and g1' })
    expect(canary).toMatchObject({ against: 'g1', summary: '1 bounds met' })
  })

  test('of a verdict that is no makes no record, and is kept', async () => {
    fixture.replicas.set('g2', new StandingReplica('g2'))
    await desk.build({ ...operator, model: 'v2' })
    fixture.replicas.get('g2')!.failed = ['sofa-17']
    const verified = await desk.verify(g2, operator, watch())
    expect(verified).toMatchObject({
      passed: false,
      offset: null,
      generation: { state: 'verifying', certificate: null },
    })
    expect(verified.reasons.join()).toContain('failed')
    expect(JSON.parse(await desk.evidence(g2, verified.digest))).toMatchObject({
      holds: false,
      step: 'verify',
      reason: operator.reason,
    })
    // No control record tells the other gateways of it.
    expect(await fixture.desk().evidence(g2, verified.digest)).toContain('"holds":false')
    await expect(fixture.desk({ evidenceDirectory: '/nowhere' }).evidence(g2, verified.digest)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('/nowhere does not have it'),
    })
    await expect(desk.canary(g2, operator, watch())).rejects.toMatchObject({ code: 'step-refused' })
    await expect(desk.evidence(g2, 'f'.repeat(64))).rejects.toMatchObject({ code: 'not-found' })
  })

  test('of a canary that fails stops the generation, until it passes', async () => {
    await proven()
    fixture.canaryReport = { ...passedReport, passed: false, reasons: ['items.recall@10 is 0.1'] }
    const records = await recordCount()
    expect(await desk.canary(g2, operator, watch())).toMatchObject({ passed: false, summary: 'items.recall@10 is 0.1' })
    expect(await recordCount()).toBe(records)
  })

  test('is not there of a run that is given up', async () => {
    fixture.replicas.set('g2', new StandingReplica('g2'))
    await desk.build({ ...operator, model: 'v2' })
    const giveUp = new AbortController()
    fixture.replicas.get('g2')!.onCut = async () => giveUp.abort()
    await expect(desk.verify(g2, operator, watch({ signal: giveUp.signal }))).rejects.toMatchObject({ code: 'timeout' })
    expect(await readdir(fixture.directory)).not.toContain('evidence')
    expect((await desk.show(g2)).certificate).toBeNull()
  })

  test('is found out once at a time', async () => {
    fixture.replicas.set('g2', new StandingReplica('g2'))
    await desk.build({ ...operator, model: 'v2' })
    const [began, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    fixture.replicas.get('g2')!.onCut = () => {
      began.resolve()
      return ended.promise
    }
    const first = desk.verify(g2, operator, watch())
    await began.promise
    await expect(desk.verify(g2, rival, watch())).rejects.toMatchObject({
      message: expect.stringContaining('under way'),
    })
    ended.resolve()
    expect((await first).passed).toBe(true)
  })
})

describe('of two operators at once', () => {
  test('one wins, the other is told what was done', async () => {
    await proven()
    // Both have read the state before one of them decides.
    let waiting = 0
    let meet = Promise.withResolvers<void>()
    fixture.replicas.get('g1')!.onStatus = async () => {
      if (++waiting === 2) meet.resolve()
      await meet.promise
    }
    const desks = [desk, fixture.desk()] as const
    for (let round = 1; round <= 10; round++) {
      waiting = 0
      meet = Promise.withResolvers()
      const before = await recordCount()
      const share = round / 100
      const ends = await Promise.allSettled([
        desks[0].route(g2, { ...operator, share }),
        desks[1].route(g2, { ...rival, share: share + 0.5 }),
      ])
      const [won] = ends.filter(end => end.status === 'fulfilled')
      const [lost] = ends.filter(end => end.status === 'rejected')
      const [winner, loser] =
        ends[0]!.status === 'fulfilled' ? ['operator-1', 'operator-2'] : ['operator-2', 'operator-1']
      expect(lost?.reason).toMatchObject({ code: 'control-conflict', message: expect.stringContaining(`by ${winner}`) })
      expect(lost?.reason.details.first).toHaveLength(1)
      waiting = 1
      const { share: now, history } = await desk.show(g2)
      expect(now).toBe(won?.value.shares.g2)
      const rejected = history.filter(each => Number(each.offset) >= before && each.rejected !== null)
      expect(rejected.map(({ by }) => by)).toEqual(rejected.map(() => loser))
    }
  })

  test('both are told apart where one came later: it decides on the new state', async () => {
    await proven()
    await desk.route(g2, { ...operator, share: 1 })
    const other = fixture.desk()
    await other.retire(g1, { ...rival, force: true })
    await expect(desk.rollback(g2, operator)).rejects.toMatchObject({
      code: 'step-refused',
      details: { missing: ['a generation that was active before'] },
    })
  })
})

describe('a build', () => {
  test('is estimated without anything being written', async () => {
    const before = await recordCount()
    const { id, estimate, generation } = await desk.build({ ...operator, model: 'v2', dryRun: true })
    expect({ id, generation }).toEqual({ id: 'g2', generation: null })
    expect(estimate).toMatchObject({
      items: 100,
      toEmbed: 90,
      msPerImage: 80,
      measured: 'trial',
      workers: 2,
      durationMs: 3_600,
      // 512 dimensions against 256, in the shard and in its topic.
      diskBytes: 2 * (2 * 4_000 + 700),
      memoryBytes: 2 * 3_000 + 500,
    })
    expect(estimate.notes[0]).toBe(
      'Until g1 or g2 is retired, each new picture is embedded for both: 80 ms more for each.',
    )
    expect([await recordCount(), fixture.topics]).toEqual([before, []])
  })

  test('that copies embeds nothing; a bound on the rate makes it longer', async () => {
    const copied = await desk.build({ ...operator, from: 'g1', shards: 2, dryRun: true })
    expect(copied.estimate).toMatchObject({ toEmbed: 0, msPerImage: null, measured: 'none', durationMs: 0, notes: [] })
    const slow = await desk.build({ ...operator, model: 'v2', imagesPerSecond: 1, dryRun: true })
    expect(slow.estimate.durationMs).toBe(90_000)
    const slowCopy = await desk.build({ ...operator, from: 'g1', shards: 2, imagesPerSecond: 1, dryRun: true })
    expect(slowCopy.estimate).toMatchObject({ toEmbed: 0, durationMs: 100_000 })
  })

  test('says what is not known where shards and workers are elsewhere', async () => {
    fixture.diskFreeBytes = null
    const cost = { msPerImage: 80, workers: 2, isAssumed: true }
    const { estimate } = await fixture
      .desk({ imageCost: async () => cost })
      .build({ ...operator, model: 'v2', dryRun: true })
    expect(estimate.notes.filter(note => note.includes('unknown'))).toEqual([
      'How many pictures all workers embed at once is unknown here: 2 are assumed.',
      'Free disk is unknown: the shards are on other machines.',
    ])
    expect((await desk.build({ ...operator, from: 'g1', dryRun: true })).estimate.notes).toEqual([
      'Free disk is unknown: the shards are on other machines.',
    ])
  })

  test('is refused where the disk is too small', async () => {
    fixture.diskFreeBytes = 100
    const before = await recordCount()
    await expect(desk.build({ ...operator, model: 'v2' })).rejects.toMatchObject({
      code: 'step-refused',
      message: 'the generation needs 1 MB of disk, of which 1 MB are free',
    })
    expect(await recordCount()).toBe(before)
  })

  test('with settings that nobody knows is refused before anything is written', async () => {
    const before = await recordCount()
    await expect(desk.build({ ...operator, model: 'v2', weights: 'unknown' })).rejects.toMatchObject({
      code: 'bad-request',
    })
    expect([await recordCount(), fixture.topics]).toEqual([before, []])
  })

  test('of a model that is nowhere is refused', async () => {
    await expect(desk.build({ ...operator, model: 'v9' })).rejects.toMatchObject({ code: 'model-invalid' })
    await expect(desk.registerModel({ ...operator, model: 'v9' })).rejects.toMatchObject({ code: 'model-invalid' })
  })

  test('tells how fast it goes', async () => {
    const replica = new StandingReplica('g2')
    replica.watermark = -1
    fixture.replicas.set('g2', replica)
    await desk.build({ ...operator, model: 'v2' })
    let looks = 0
    const seen = Promise.withResolvers<void>()
    replica.onStatus = async () => {
      fixture.nowMs += 1_000
      replica.watermark = Math.min(4, looks)
      if (++looks === 4) seen.resolve()
    }
    desk.start()
    await seen.promise
    replica.onStatus = async () => {}
    const { rebuild } = await desk.show(g2)
    expect(rebuild).toMatchObject({ done: 8, total: 10, perSecond: 2, etaMs: 1_000 })
  })
})

test('models are registered once', async () => {
  expect(await desk.registerModel({ ...operator, model: 'v2' })).toMatchObject({ model: 'v2', dims: 512, isNew: true })
  expect(await desk.registerModel({ ...operator, model: 'v2' })).toMatchObject({ isNew: false })
  expect(await desk.models()).toMatchObject([
    { model: 'v1', generations: ['g1'], registeredBy: 'serve' },
    { model: 'v2', generations: [], registeredBy: 'operator-1' },
  ])
})

test('a replica that does not answer holds nobody up', async () => {
  fixture.replicas.get('g1')!.onStatus = () => new Promise(() => undefined)
  expect(await desk.show(g1)).toMatchObject({ indexAgeMs: null, replicas: { ready: 0, total: 1 } })
})

test('an undo goes on though the replicas of what is undone hang', async () => {
  await proven()
  await desk.route(g2, { ...operator, share: 1 })
  fixture.replicas.get('g2')!.onStatus = () => new Promise(() => undefined)
  expect(await desk.rollback(g2, rival)).toMatchObject({ shares: { g1: 1 }, generation: { indexAgeMs: null } })
})

test('a generation that there is not is told as such', async () => {
  await expect(desk.show('g9' as Generation)).rejects.toMatchObject({ code: 'not-found' })
  for (const step of ['pause', 'resume', 'rollback', 'retire'] as const)
    await expect(desk[step]('g9' as Generation, operator)).rejects.toMatchObject({ code: 'not-found' })
  await expect(desk.route('g9' as Generation, { ...operator, share: 1 })).rejects.toMatchObject({ code: 'not-found' })
})
