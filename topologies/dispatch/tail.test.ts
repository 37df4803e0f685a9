import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { asPartition, type ItemId, type Offset } from '../../schemas/ids.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { dispatchGroup } from './group.ts'
import { DispatchRunner } from './runner.ts'
import { type FoldedItem, identityOf, upsertOf } from './test-records.ts'
import { GatedMutations } from './testing/gated-mutations.ts'
import {
  begin,
  failTest,
  fold,
  type Installation,
  idOf,
  install,
  mutations,
  partitionCount,
  publish,
  readUntilApplied,
  settings,
  withWorker,
} from './testing/installation.ts'

let directory: string
let installation: Installation
const started: DispatchRunner[] = []
const patience = { timeout: 20_000 }

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-dispatch-tail-'))
  installation = await install(directory)
  await begin(installation)
})

afterEach(async () => {
  for (const runner of started.splice(0)) await runner.stop()
  await installation.environment.close()
  await rm(directory, { recursive: true })
})

/** A log whose reader of the backlog is held up as long as the gate is closed. */
const gatedLog = () =>
  new GatedMutations(installation.log, ({ topic, group }) => topic === catalogTopic && group !== undefined)

async function start({ log }: GatedMutations, partitions: 'all' | 'group', backfillUntil: readonly Offset[]) {
  const runner = new DispatchRunner(
    { ...installation.ports, log },
    { settings: { ...settings, backfillUntil }, partitions, onFailure: failTest, tickMs: 20 },
  )
  started.push(runner)
  await runner.start()
  return runner
}

/** Where the catalog ends now, as a generation's start record tells it. */
async function ends(): Promise<readonly Offset[]> {
  const offsets = await installation.log.offsets(catalogTopic)
  return Array.from({ length: partitionCount }, (_, number) => offsets.get(asPartition(number))!.end)
}

const image = (n: number, name: string) => `https://a/${name}/${n}`
const upserts = (from: number, to: number, name: string) =>
  Array.from({ length: to - from }, (_, i) => upsertOf(idOf(from + i), image(from + i, name)))

/** What the mutation log holds by now. */
async function registers(): Promise<ReadonlyMap<ItemId, FoldedItem>> {
  const ends = await installation.log.offsets(mutations)
  const reader = await installation.log.openReader({ topic: mutations, partitions: [...ends.keys()], from: new Map() })
  const records = []
  while ([...ends].some(([partition, { end }]) => reader.position(partition) < end))
    records.push(...(await reader.poll(1_000, 1_000)))
  await reader.close()
  return fold(installation, records)
}

const committed = () => installation.log.committed(dispatchGroup(settings.generation), catalogTopic)
const identities = (held: ReadonlyMap<ItemId, FoldedItem>) =>
  new Map(Array.from(held, ([itemId, { identity }]) => [itemId, identity]))
const expected = (named: readonly (readonly [number, string])[]) =>
  new Map(named.map(([n, name]) => [idOf(n), identityOf(image(n, name))]))
const range = (from: number, to: number, name: string) =>
  Array.from({ length: to - from }, (_, i) => [from + i, name] as const)

test.each(['all', 'group'] as const)(
  'live events do not wait for a backlog that nobody has read yet, and it does not undo them (%s)',
  async partitions => {
    await publish(installation, upserts(0, 12, 'old'))
    const gated = gatedLog()
    gated.closeGate()
    const runner = await start(gated, partitions, await ends())
    await withWorker(installation, async () => {
      await publish(installation, [
        ...upserts(0, 3, 'new'),
        { type: 'ItemDeleted', itemId: idOf(3) },
        ...upserts(20, 22, 'new'),
      ])
      const live = expected([...range(0, 3, 'new'), ...range(20, 22, 'new')])
      await expect.poll(async () => identities(await registers()), patience).toEqual(live)
      expect(await committed()).toEqual(new Map())
      const [first] = runner.status().partitions
      expect(first).toMatchObject({ watermark: -1, position: 0 })
      gated.openGate()
      const held = fold(installation, await readUntilApplied(installation))
      const all = [...range(0, 3, 'new'), ...range(4, 12, 'old'), ...range(20, 22, 'new')]
      expect(identities(held)).toEqual(expected(all))
      await expect.poll(committed, patience).toEqual(new Map((await ends()).map((end, number) => [number, end])))
      // From there on one reader is enough.
      const ofCatalog = () => [...gated.readers].filter(({ topic }) => topic === catalogTopic)
      await publish(installation, upserts(30, 40, 'later'))
      await readUntilApplied(installation)
      await expect.poll(ofCatalog, patience).toHaveLength(1)
      await publish(installation, upserts(40, 50, 'later'))
      await readUntilApplied(installation)
    })
    expect(identities(await registers())).toEqual(
      expected([...range(0, 3, 'new'), ...range(4, 12, 'old'), ...range(20, 22, 'new'), ...range(30, 50, 'later')]),
    )
  },
)

test('a dispatcher that ends before the backlog is read begins again with both, and nothing is lost', async () => {
  await publish(installation, upserts(0, 12, 'old'))
  const backfillUntil = await ends()
  const gated = gatedLog()
  gated.closeGate()
  const first = await start(gated, 'group', backfillUntil)
  await withWorker(installation, async () => {
    await publish(installation, upserts(0, 6, 'new'))
    await expect.poll(async () => identities(await registers()), patience).toEqual(expected(range(0, 6, 'new')))
    const stopped = first.stop()
    gated.openGate()
    await stopped
    expect(await committed()).toEqual(new Map())
    await start(gatedLog(), 'group', backfillUntil)
    const held = fold(installation, await readUntilApplied(installation))
    expect(identities(held)).toEqual(expected([...range(0, 6, 'new'), ...range(6, 12, 'old')]))
  })
})
