import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { FreshetClient, type ProofProgress } from '../schemas/client.ts'
import type { Generation } from '../schemas/ids.ts'
import { awaitReceipts } from './await-receipts.ts'
import { EmbeddedGenerations } from './testing/embedded-generations.ts'
import { freePort, type ServerProcess, startServerProcess } from './testing/server-process.ts'

const g1 = 'g1' as Generation
const g2 = 'g2' as Generation
const g3 = 'g3' as Generation
const quiet = Array.from({ length: 500 }, (_, n) => `item-${n}`)

let world: EmbeddedGenerations | null = null
let server: ServerProcess | null = null
let directory: string | null = null

afterEach(async () => {
  await world?.close()
  await server?.kill()
  if (directory !== null) rmSync(directory, { recursive: true, force: true })
  world = null
  server = null
  directory = null
})

/** Pictures that change, prices that change, deletes, and items that come again. */
async function publishHistory({ publish }: Pick<EmbeddedGenerations, 'publish'>): Promise<void> {
  await publish(quiet.map(item => ({ item, picture: `${item} in red` })))
  await publish(quiet.filter((_, n) => n % 3 === 0).map(item => ({ item, picture: `${item} in blue` })))
  await publish(quiet.filter((_, n) => n % 4 === 0).map(item => ({ item, picture: `${item} in red`, price: 5 })))
  await publish(quiet.filter((_, n) => n % 9 === 0).map(item => ({ item, picture: null })))
  await publish(quiet.filter((_, n) => n % 18 === 0).map(item => ({ item, picture: `${item} once more` })))
}

/** Events of a few items, until it is stopped. */
function traffic({ publish }: Pick<EmbeddedGenerations, 'publish'>): { stop(): Promise<void> } {
  let isOver = false
  const flowing = (async () => {
    for (let round = 0; !isOver; round++) {
      const hot = Array.from({ length: 5 }, (_, n) => `hot-${n}`)
      await publish(hot.map((item, n) => ({ item, picture: (round + n) % 6 === 0 ? null : `hot ${n} ${round >> 2}` })))
      await pause(20)
    }
  })()
  return {
    stop: () => {
      isOver = true
      return flowing
    },
  }
}

test('two shards become four, and another index, while events flow: nothing is embedded again, all is proven the same', async () => {
  world = await EmbeddedGenerations.start({ FRESHET_SHARDS: '2' })
  const running = world
  const publisher = { publish: running.publish.bind(running) }
  await publishHistory(publisher)
  await running.applied(g1)
  const hot = traffic(publisher)
  await running.build(g2, { shards: 4, from: g1, index: '{"segments":"compressed"}' })
  await running.until('g2 is opened', () => running.shardsOf(g2).length === 4)
  await running.applied(g2)
  const meanwhile = await running.certificate(g1, g2)
  expect(meanwhile.reasons).toEqual([])
  await hot.stop()
  await running.applied(g1)
  const after = await running.certificate(g2, g1)
  expect(after).toMatchObject({ holds: true, mismatches: { count: 0 }, unproven: { count: 0 } })
  expect(after.live.candidate).toBeGreaterThan(400)
  expect(await running.digests(g2)).toEqual(await running.digests(g1))
  expect(await running.vectors(g2, quiet)).toBe(await running.vectors(g1, quiet))
  const again = running.jobs.filter(({ generation, itemId }) => generation === g2 && quiet.includes(itemId))
  expect(again).toEqual([])
  expect(running.jobs.filter(({ generation }) => generation === g1).length).toBeGreaterThan(quiet.length)
  expect(running.alarms.list()).toEqual([])
})

test('two rebuilds of the same log, with other shards, come to the same digests and the same vectors', async () => {
  world = await EmbeddedGenerations.start()
  const running = world
  await publishHistory({ publish: running.publish.bind(running) })
  await running.applied(g1)
  for (const [generation, shards] of [
    [g2, 1],
    [g3, 3],
  ] as const) {
    await running.build(generation, { shards, from: null })
    await running.until(`${generation} is opened`, () => running.shardsOf(generation).length === shards)
    await running.applied(generation)
  }
  expect(running.jobs.filter(({ generation }) => generation === g3).length).toBeGreaterThan(400)
  const digests = await running.digests(g2)
  expect(Object.keys(digests)).toHaveLength(running.storage.partitions)
  expect(await running.digests(g3)).toEqual(digests)
  expect(await running.digests(g1)).toEqual(digests)
  expect(await running.vectors(g3, quiet)).toBe(await running.vectors(g2, quiet))
  expect(await running.certificate(g2, g3)).toMatchObject({ holds: true, reasons: [] })
})

/** As far as anyone looks without decoding it: the stub models do not. */
const picture = (n: number) => Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), Buffer.from(`picture ${n}`)])

test('a server that is killed while it copies goes on copying, and embeds nothing that it had', async () => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-reshard-'))
  const port = await freePort()
  const env = { FRESHET_STUB_MODEL: 'true', FRESHET_SHARDS: '2', FRESHET_LOG_LEVEL: 'warn' }
  const options = { dataDir: directory, port, env }
  server = await startServerProcess(options)
  const client = new FreshetClient({ baseUrl: server.url })
  const blobs: string[] = []
  for (let n = 0; n < 20; n++) blobs.push((await client.putBlob(picture(n))).blob)
  const publish = async (from: number, to: number): Promise<string[]> => {
    const items = Array.from({ length: to - from }, (_, i) => ({
      itemId: `item-${from + i}`,
      title: `Item ${from + i}`,
      images: [blobs[(from + i) % blobs.length]!],
    }))
    const receipts: string[] = []
    for await (const line of client.bulk(items)) if ('receipt' in line) receipts.push(line.receipt)
    return receipts
  }
  expect(await awaitReceipts(client, await publish(0, 2_000))).toEqual([])
  await client.buildGeneration({ model: 'stub', generation: 'g2', from: 'g1', shards: 4, reason: 'a test' })
  const receipts: string[] = []
  let jobs = 0
  for (const [kill, laterMs] of [0, 50, 150].entries()) {
    receipts.push(...(await publish(2_000 + 50 * kill, 2_050 + 50 * kill)))
    await pause(laterMs)
    jobs += await jobsOf(server.url, 'g2')
    await server.kill()
    server = await startServerProcess(options)
  }
  expect(await awaitReceipts(client, receipts)).toEqual([])
  const isBuilt = async (): Promise<boolean> => {
    const { rebuild, replicas, items } = await client.generation('g2')
    return rebuild.done >= rebuild.total && replicas.ready === 4 && items.searchable === 2_150
  }
  await expect.poll(isBuilt, { timeout: 90_000, interval: 100 }).toBe(true)
  jobs += await jobsOf(server.url, 'g2')
  expect(jobs).toBeLessThanOrEqual(150 * 4)
  expect(await proven(client.verifyGeneration('g2', { against: 'g1', reason: 'a test' }))).toEqual([])
}, 240_000)

/** Jobs that a generation's dispatcher has enqueued since its start. */
async function jobsOf(url: string, generation: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const line = text
    .split('\n')
    .find(each => each.includes('dispatch_since_start{') && each.includes(`"${generation}"`) && each.includes('"jobs"'))
  return line === undefined ? 0 : Number(/}\s+(\S+)/.exec(line)![1])
}

/** Why not; nothing where it holds. */
async function proven(lines: AsyncIterable<ProofProgress>): Promise<readonly string[]> {
  for await (const line of lines) if ('result' in line) return line.result.reasons
  throw new Error('no result')
}
