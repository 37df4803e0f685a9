import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import { FreshetError } from '../schemas/errors.ts'
import { awaitReceipts } from './await-receipts.ts'
import { publishAll, untilStatus } from './bench/scratch.ts'
import { demoDirectory, demoItems } from './demo-catalog.ts'
import { type ServerProcess, type ServerProcessOptions, startServerProcess } from './testing/server-process.ts'

const chair = join(demoDirectory, 'images', 'blendswap-cc-0-1.webp')
const stub = { FRESHET_STUB_MODEL: 'true' }
let directory: string
let servers: ServerProcess[] = []
let hosts: Server[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-e2e-'))
})

afterEach(async () => {
  await Promise.all(servers.map(server => server.stop()))
  for (const host of hosts) host.close()
  servers = []
  hosts = []
  rmSync(directory, { recursive: true, force: true })
})

test('an item is published, found by its picture, deleted, and found no more', async () => {
  const { client } = await serve({})
  const { blob } = await client.putBlob(readFileSync(chair))
  const receipt = await client.publishAndWait({ itemId: 'a/b 🛋️', title: 'Chair', price: 10, images: [blob] })
  expect(receipt.status).toBe('searchable')
  const found = await client.searchImage(readFileSync(chair), { k: 5 })
  expect(found.results.map(({ itemId }) => itemId)).toEqual(['a/b 🛋️'])
  expect(found.results[0]!.similarity).toBeGreaterThan(0.99)
  expect(found).toMatchObject({ coverage: { answered: 1, total: 1 }, degraded: [] })
  expect((await client.deleteAndWait('a/b 🛋️')).status).toBe('removed')
  expect((await client.searchImage(readFileSync(chair), { k: 5 })).results).toEqual([])
  await expect(client.item('a/b 🛋️')).rejects.toMatchObject({ code: 'item-not-found' })
})

test('a second server on the same data directory is refused with the pid of the first', async () => {
  const first = await serve({ env: stub })
  const second = startServerProcess({ dataDir: dataDir(), env: stub })
  await expect(second).rejects.toThrow(new RegExp(`in use by process ${first.server.pid}.*data-locked`))
})

test('SIGTERM under load drains, and the next start has everything', async () => {
  const first = await serve({ env: stub })
  const { blob } = await first.client.putBlob(readFileSync(chair))
  const accepted: string[] = []
  const sending = (async () => {
    for await (const answer of first.client.bulk(endless(blob))) if ('receipt' in answer) accepted.push(answer.receipt)
  })().catch((thrown: unknown) => thrown)
  await untilStatus(first.client, ({ items }) => items.searchable > 200)
  expect(await first.server.stop()).toBe(0)
  await sending
  const { client } = await serve({ env: stub })
  expect(await awaitReceipts(client, accepted)).toEqual([])
  expect((await client.status()).items.searchable).toBeGreaterThanOrEqual(accepted.length)
})

test('a backup taken while publishing is whole, and a server starts on it', async () => {
  const first = await serve({ env: stub })
  const { blob } = await first.client.putBlob(readFileSync(chair))
  await publishMany(first.client, { from: 0, count: 500, blob })
  const [, backup] = await Promise.all([
    publishMany(first.client, { from: 500, count: 1_500, blob }),
    first.client.backup(join(directory, 'backup')),
  ])
  expect(backup.bytes).toBeGreaterThan(0)
  await first.server.stop()
  const { client } = await serve({ env: stub, dataDir: join(directory, 'backup') })
  const { items } = await untilStatus(client, status => status.items.pending === 0 && status.indexAgeMs === 0)
  expect(items.searchable).toBeGreaterThanOrEqual(500)
  expect(items.failed).toBe(0)
  expect(await client.blob(blob)).toEqual(new Uint8Array(readFileSync(chair)))
})

test('an image host that answers 503 holds up nobody else', async () => {
  const broken = await imageHost((_path, respond) => respond(503, 'busy'))
  const { client } = await serve({
    env: { FRESHET_ALLOW_PRIVATE_HOSTS: 'true', FRESHET_WORKERS_FAIL_AFTER_MS: '3000' },
  })
  const { blob } = await client.putBlob(readFileSync(chair))
  const stuck: string[] = []
  for (let i = 0; i < 20; i++)
    stuck.push((await client.publish({ itemId: `stuck-${i}`, images: [`${broken}/${i}.jpg`] })).receipt)
  for (let i = 0; i < 20; i++)
    expect((await client.publishAndWait({ itemId: `good-${i}`, title: 'first', images: [blob] })).status).toBe(
      'searchable',
    )
  for (let i = 0; i < 10; i++) {
    expect((await client.publishAndWait({ itemId: `good-${i}`, title: 'second', images: [blob] })).status).toBe(
      'searchable',
    )
    expect((await client.deleteAndWait(`good-${i + 10}`)).status).toBe('removed')
  }
  const status = await untilStatus(client, ({ items, indexAgeMs }) => items.failed === 20 && indexAgeMs === 0)
  expect(status.items.searchable).toBe(10)
  const { failure } = await client.receipt(stuck[0]!)
  expect(failure).toMatchObject({ code: 'image-host-busy', retryable: true })
})

test('an image that the host does not have is a failure with a dead letter that can be redriven', async () => {
  let isThere = false
  const host = await imageHost((_path, respond) => (isThere ? respond(200, readFileSync(chair)) : respond(404, 'none')))
  const env = { FRESHET_ALLOW_PRIVATE_HOSTS: 'true' }
  const first = await serve({ env })
  const item = { itemId: 'late', title: 'Late', images: [`${host}/a.webp`] }
  await expect(first.client.publishAndWait(item)).rejects.toMatchObject({ code: 'image-not-found' })
  await first.server.stop()
  const { client } = await serve({ env })
  expect((await client.status()).pipeline.deadLetters, 'the letter of an earlier process').toBe(1)
  const { deadLetters } = await client.deadLetters()
  expect(deadLetters).toMatchObject([{ itemId: 'late', code: 'image-not-found', redrivable: true }])
  isThere = true
  await client.redriveDeadLetter(deadLetters[0]!.id)
  await untilStatus(client, ({ items, pipeline }) => items.searchable === 1 && pipeline.deadLetters === 0)
  expect((await client.deadLetters()).deadLetters).toEqual([])
})

test('an item whose image changes 20 times a second still appears', async () => {
  const pictures = demoItems()
    .slice(0, 200)
    .map(({ images }) => images![0]!)
  const { client } = await serve({ env: { FRESHET_IMAGE_ROOTS: demoDirectory } })
  let isSearchable = false
  for (let i = 0; !isSearchable; i++) {
    await client.publish({ itemId: 'restless', title: 'Restless', images: [pictures[i % pictures.length]!] })
    await delay(50)
    isSearchable = (await client.status()).items.searchable === 1
    if (i > 600) throw new Error('the item never appeared')
  }
})

test('poison pictures fail with their reason and their neighbours are indexed', async () => {
  const { client } = await serve({})
  const good = readFileSync(chair)
  const jpeg = readFileSync(join(demoDirectory, 'rooms', 'room-000.jpg'))
  const truncated = await client.putBlob(jpeg.subarray(0, jpeg.length / 3))
  const garbled = await client.putBlob(Buffer.concat([jpeg.subarray(0, 4), Buffer.alloc(5_000, 7)]))
  const { blob } = await client.putBlob(good)
  const [a, b, c] = await Promise.allSettled([
    client.publishAndWait({ itemId: 'truncated', images: [truncated.blob] }),
    client.publishAndWait({ itemId: 'garbled', images: [garbled.blob] }),
    client.publishAndWait({ itemId: 'good', images: [blob] }),
  ])
  expect(a).toMatchObject({ status: 'rejected', reason: { code: 'image-corrupt' } })
  expect(b).toMatchObject({ status: 'rejected', reason: { code: 'image-corrupt' } })
  expect(c).toMatchObject({ status: 'fulfilled', value: { status: 'searchable' } })
})

test('a full disk refuses writes and goes on answering, until there is space again', async context => {
  if (process.getuid?.() !== 0) {
    context.skip('needs root for a small file system of its own')
    return
  }
  const small = join(directory, 'small')
  execFileSync('mkdir', ['-p', small])
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=192m', 'tmpfs', small])
  try {
    const { client, server } = await serve({ env: stub, dataDir: join(small, 'data') })
    const { blob } = await client.putBlob(readFileSync(chair))
    await publishMany(client, { from: 0, count: 50, blob })
    writeFileSync(join(small, 'filler'), Buffer.alloc(170 * 2 ** 20))
    await expect(untilRefused(client, blob)).resolves.toMatchObject({ code: 'storage-full', retryable: true })
    expect((await client.similar('item-1', { k: 10, collapse: false })).results).toHaveLength(10)
    rmSync(join(small, 'filler'))
    await untilAccepted(client, blob)
    await untilStatus(client, ({ items, indexAgeMs }) => items.pending === 0 && indexAgeMs === 0)
    expect(await server.stop()).toBe(0)
  } finally {
    await Promise.all(servers.map(server => server.stop()))
    execFileSync('umount', [small])
  }
})

test('a start on a directory of a newer format is refused with the step to take', async () => {
  const { server } = await serve({ env: stub })
  await server.stop()
  cpSync(dataDir(), join(directory, 'newer'), { recursive: true })
  writeFileSync(join(directory, 'newer', 'FORMAT'), '99\n')
  const refused = startServerProcess({ dataDir: join(directory, 'newer'), env: stub })
  await expect(refused).rejects.toThrow(/start a Freshet that reads format 99/)
})

test('a start on a taken port, or with other partitions, says what to change', async () => {
  const first = await serve({ env: stub })
  const port = Number(new URL(first.server.url).port)
  // Counts as ready at once: the first one answers on that port.
  const second = await startServerProcess({ dataDir: join(directory, 'other'), env: stub, port })
  expect(await second.exited).toBe(1)
  expect(second.output()).toContain('is taken (address-in-use)')
  await first.server.stop()
  const repartitioned = startServerProcess({ dataDir: dataDir(), env: { ...stub, FRESHET_PARTITIONS: '16' } })
  await expect(repartitioned).rejects.toThrow(/set partitions to 8, not 16/)
})

test('two shards answer as one', async () => {
  const { client } = await serve({ env: { ...stub, FRESHET_SHARDS: '2' } })
  const { blob } = await client.putBlob(readFileSync(chair))
  await publishMany(client, { from: 0, count: 300, blob })
  const answer = await client.similar('item-5', { k: 200, collapse: false })
  expect(answer).toMatchObject({ coverage: { answered: 2, total: 2 }, degraded: [] })
  expect(new Set(answer.results.map(({ itemId }) => itemId)).size).toBe(200)
})

const dataDir = (): string => join(directory, 'data')

async function serve(options: Partial<ServerProcessOptions>) {
  const env = { FRESHET_LOG_LEVEL: 'error', ...options.env }
  const server = await startServerProcess({ dataDir: dataDir(), ...options, env })
  servers.push(server)
  return { server, client: new FreshetClient({ baseUrl: server.url }) }
}

async function publishMany(
  client: FreshetClient,
  { from, count, blob }: { readonly from: number; readonly count: number; readonly blob: string },
): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => ({ itemId: `item-${from + i}`, images: [blob] }))
  expect(await awaitReceipts(client, await publishAll(client, lines))).toEqual([])
}

async function* endless(blob: string) {
  for (let i = 0; ; i++) {
    yield { itemId: `item-${i}`, images: [blob] }
    if (i % 50 === 0) await delay(5)
  }
}

async function untilRefused(client: FreshetClient, blob: string): Promise<FreshetError> {
  for (let i = 0; i < 2_000; i++) {
    const refusal = await client
      .publish({ itemId: `late-${i}`, images: [blob] })
      .catch((thrown: FreshetError) => thrown)
    if (refusal instanceof FreshetError) return refusal
  }
  throw new Error('nothing was refused')
}

async function untilAccepted(client: FreshetClient, blob: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const accepted = await client
      .publish({ itemId: 'afterwards', images: [blob] })
      .catch((thrown: FreshetError) => thrown)
    if (!(accepted instanceof FreshetError)) return
    await delay(100)
  }
  throw new Error('writes are still refused')
}

async function imageHost(
  answer: (path: string, respond: (status: number, body: string | Buffer) => void) => void,
): Promise<string> {
  const host = createServer((request, response) =>
    answer(request.url ?? '', (status, body) => response.writeHead(status).end(body)),
  )
  hosts.push(host)
  await new Promise<void>(resolve => host.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(host.address() as AddressInfo).port}`
}
