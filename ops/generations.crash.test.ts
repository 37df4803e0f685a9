import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import { awaitReceipts } from './await-receipts.ts'
import { freePort, type ServerProcess, startServerProcess } from './testing/server-process.ts'

let directory: string
let server: ServerProcess
let port: number
let client: FreshetClient
let blobs: string[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-generations-crash-'))
  port = await freePort()
  client = new FreshetClient({ baseUrl: `http://127.0.0.1:${port}` })
})
afterEach(async () => {
  await server?.kill()
  await rm(directory, { recursive: true, force: true })
})

async function start(): Promise<void> {
  const env = { FRESHET_STUB_MODEL: 'true', FRESHET_SHARDS: '2', FRESHET_LOG_LEVEL: 'warn' }
  server = await startServerProcess({ dataDir: directory, port, env })
}

/** SIGKILL, and the next start. */
async function killAndStart(): Promise<void> {
  await server.kill()
  await start()
}

/** As far as anyone looks without decoding it: the stub models do not. */
const picture = (n: number) => Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), Buffer.from(`picture ${n}`)])

async function publish(from: number, to: number): Promise<string[]> {
  const items = Array.from({ length: to - from }, (_, i) => {
    const number = from + i
    return { itemId: `item-${number}`, title: `Item ${number}`, images: [blobs[number % blobs.length]!] }
  })
  const receipts: string[] = []
  for await (const line of client.bulk(items)) {
    if ('error' in line) throw new Error(`${line.error.code}: ${line.error.message}`)
    receipts.push(line.receipt)
  }
  return receipts
}

async function searchable(generation: string): Promise<number | undefined> {
  const { generations } = await client.status()
  return generations.find(({ id }) => id === generation)?.items?.searchable
}

const decision = { reason: 'a test', by: 'test' }
const patience = { timeout: 60_000, interval: 100 }

test('a server that is killed at every state of a generation goes on where the control log is', async () => {
  await start()
  blobs = []
  for (let n = 0; n < 20; n++) blobs.push((await client.putBlob(picture(n))).blob)
  expect(await awaitReceipts(client, await publish(0, 1_000))).toEqual([])

  // While it is built, events flowing.
  await client.buildGeneration({ ...decision, model: 'stub-b', generation: 'g2' })
  const receipts: string[] = []
  for (let kills = 0; kills < 3; kills++) {
    receipts.push(...(await publish(1_000 + kills * 100, 1_100 + kills * 100)))
    await killAndStart()
  }
  expect(await awaitReceipts(client, receipts)).toEqual([])
  await expect.poll(() => searchable('g2'), patience).toBe(1_300)

  // Right after it was given all queries.
  await client.routeGeneration('g2', { ...decision, share: 1, override: 'a test' })
  await killAndStart()
  const { results, generation } = await client.searchImage(picture(7), { k: 1 })
  expect([generation, results.length]).toEqual(['g2', 1])
  expect(await awaitReceipts(client, await publish(1_300, 1_350))).toEqual([])
  await expect.poll(() => searchable('g1'), patience).toBe(1_350)

  // While the other one is removed: at once, and a little later each time.
  await client.retireGeneration('g1', { ...decision, force: true })
  for (const laterMs of [0, 20, 60]) {
    await pause(laterMs)
    await killAndStart()
  }
  await expect.poll(() => readdir(join(directory, 'shards')), patience).toEqual(['g2-0', 'g2-1'])
  expect(await awaitReceipts(client, await publish(1_350, 1_400))).toEqual([])
  expect(await searchable('g2')).toBe(1_400)
  const { generations, pipeline } = await client.status()
  expect([generations.map(({ id }) => id), pipeline.alarms]).toEqual([['g2'], []])
}, 240_000)
