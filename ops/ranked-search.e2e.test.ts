import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import type { Item } from '../schemas/http-items.ts'
import type { Filter, SearchAnswer } from '../schemas/http-search.ts'
import { seededRandom } from '../shard-node/testing/seeded-random.ts'
import { demoDirectory } from './demo-catalog.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

const patience = { timeout: 20_000, interval: 100 }
const picture = (n: number) => readFileSync(join(demoDirectory, 'images', `blendswap-cc-0-${n}.webp`))

let directory: string
let server: ServerProcess
let client: FreshetClient

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-ranked-'))
  const env = { FRESHET_LOG_LEVEL: 'error', FRESHET_STUB_MODEL: 'true' }
  server = await startServerProcess({ dataDir: join(directory, 'data'), env })
  client = new FreshetClient({ baseUrl: server.url })
})

afterAll(async () => {
  await server.stop()
  rmSync(directory, { recursive: true })
})

async function publish(items: readonly Partial<Item>[], blob: string): Promise<void> {
  const defaults = { images: [blob], title: 'Lamp', category: 'lamp', currency: 'EUR', available: true }
  const receipts = await Promise.all(items.map(item => client.publishAndWait({ ...defaults, ...item } as Item)))
  expect(receipts.map(({ status }) => status)).toEqual(items.map(() => 'searchable'))
}

const ids = ({ results }: SearchAnswer) => results.map(({ itemId }) => itemId)

describe('filters and facets, from the request to the shard and back', () => {
  let blob: string

  beforeAll(async () => {
    blob = (await client.putBlob(picture(1))).blob
    await publish(
      [
        { itemId: 'f1', category: 'rug', regions: ['de', 'fr'], price: 10, attributes: { colour: 'red', wide: true } },
        { itemId: 'f2', category: 'lamp', regions: ['fr'], price: 20, attributes: { colour: 'green', legs: 4 } },
        { itemId: 'f3', category: 'lamp', regions: ['us'], price: 30, available: false, attributes: { colour: 'red' } },
        { itemId: 'f4', category: 'sofa', regions: [], attributes: { legs: 3 } },
      ],
      blob,
    )
  })

  const search = (filter: Filter) => client.search({ image: { blob }, filter, collapse: false, facets: true })

  test.each<[Filter, readonly string[]]>([
    [{}, ['f1', 'f2', 'f3', 'f4']],
    [{ category: 'rug' }, ['f1']],
    [{ category: ['rug', 'sofa'] }, ['f1', 'f4']],
    [{ region: 'fr' }, ['f1', 'f2']],
    [{ region: ['de', 'us'] }, ['f1', 'f3']],
    [{ available: true }, ['f1', 'f2', 'f4']],
    [{ available: false }, ['f3']],
    [{ price: { min: 10, max: 20 } }, ['f1', 'f2']],
    [{ price: { min: 20 } }, ['f2', 'f3']],
    [{ attributes: { colour: 'red' } }, ['f1', 'f3']],
    [{ attributes: { colour: ['red', 'green'], legs: [4] } }, ['f2']],
    [{ attributes: { wide: true } }, ['f1']],
    [{ category: 'lamp', region: 'fr', available: true, price: { max: 20 }, attributes: { legs: 4 } }, ['f2']],
    [{ category: 'lamp', region: 'de' }, []],
  ])('%j finds %j, and counts just these', async (filter, expected) => {
    const answer = await search(filter)
    expect(ids(answer).toSorted()).toEqual(expected)
    expect(answer.facets!.of).toBe(expected.length)
  })

  test('facets of all', async () => {
    const { facets } = await search({})
    expect(facets).toMatchObject({
      category: [
        { value: 'lamp', count: 2 },
        { value: 'rug', count: 1 },
        { value: 'sofa', count: 1 },
      ],
      available: [
        { value: true, count: 3 },
        { value: false, count: 1 },
      ],
      price: { currency: 'EUR', min: 10, max: 30 },
    })
    expect(facets!.attributes.legs).toEqual([
      { value: 3, count: 1 },
      { value: 4, count: 1 },
    ])
  })

  test('the same picture is shown once', async () => {
    const answer = await client.search({ image: { blob } })
    expect(answer.results).toHaveLength(1)
    expect(answer.results[0]!.alike!.count).toBe(3)
  })
})

test('what sessions click comes up, live, among what looks the same', async () => {
  const { blob } = await client.putBlob(picture(2))
  await publish([{ itemId: 'e1' }, { itemId: 'e2' }, { itemId: 'e3' }], blob)
  const search = (session?: string) =>
    client.search({ image: { blob }, k: 3, collapse: false, ...(session === undefined ? {} : { session }) })
  expect(ids(await search())).toEqual(['e1', 'e2', 'e3'])
  for (let n = 0; n < 20; n++) {
    const { queryId, results } = await search(`session ${n}`)
    const position = results.findIndex(({ itemId }) => itemId === 'e3')
    await client.engage([{ queryId, itemId: 'e3', action: 'click', position }])
  }
  // What nobody was shown does not count, however often it is claimed.
  const made = Array.from({ length: 200 }, (_, n) => ({
    queryId: `made up ${n}`,
    itemId: 'e2',
    action: 'click' as const,
    position: 0,
  }))
  await client.engage(made)
  await expect.poll(async () => ids(await search())[0], patience).toBe('e3')
  const rate = async (itemId: string) => {
    const { results } = await client.search({ image: { blob }, k: 3, collapse: false, explain: true })
    const { ranking } = results.find(result => result.itemId === itemId)!.explain!
    return ranking!.find(({ part }) => part === 'clickRate')!.value
  }
  await expect.poll(() => rate('e3'), patience).toBeGreaterThan(0.6)
  await expect.poll(() => rate('e2'), patience).toBeLessThan(0.5)
})

test('what was deleted is in no answer that is asked for afterwards, cached or not, and what is live is', async () => {
  const { blob } = await client.putBlob(picture(3))
  const random = seededRandom(17)
  const live = new Set<string>()
  let cached = 0
  const ask = async (): Promise<void> => {
    const before = new Set(live)
    const answer = await client.search({ image: { blob }, filter: { category: 'model' }, k: 200, collapse: false })
    if (answer.cached!.candidates) cached++
    // Nothing is written while this is asked, so before is also after.
    expect(new Set(ids(answer))).toEqual(before)
  }
  for (let step = 0; step < 60; step++) {
    const itemId = `m${Math.floor(random() * 12)}`
    if (live.has(itemId)) {
      expect((await client.deleteAndWait(itemId)).status).toBe('removed')
      live.delete(itemId)
    } else {
      await publish([{ itemId, category: 'model' }], blob)
      live.add(itemId)
    }
    await Promise.all([ask(), ask(), ask()])
    await ask()
  }
  expect(cached).toBeGreaterThan(60)
})
