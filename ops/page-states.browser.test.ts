import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page, Route } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { defaultFanoutOptions } from '../query-gateway/fanout/fanout-options.ts'
import {
  allPartitions,
  type FixtureOptions,
  type GatewayFixture,
  generation,
  hit,
  itemId,
  openGateway,
} from '../query-gateway/testing/gateway-fixture.ts'
import { TableReplica } from '../query-gateway/testing/table-replica.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { ShardHit } from '../schemas/shard-api.ts'
import { demoDirectory } from './demo-catalog.ts'
import { laundry, openPhoto, PageVisits, titles, untilAnswered } from './testing/page-visits.ts'
import { freePort, startServerProcess } from './testing/server-process.ts'

/** What the page says when the server or a part of it is not well. The gateway is real; shards and models stand in. */

const chair = join(demoDirectory, 'views', 'blendswap-cc-0-31.webp')
const lamp = join(demoDirectory, 'images', 'blendswap-cc-by-98.webp')
const pictures: Readonly<Record<string, string>> = { lamp, 'lamp-again': lamp }

let visits: PageVisits
const opened: GatewayFixture[] = []

beforeAll(async () => {
  visits = await PageVisits.open()
})

afterAll(() => visits?.close())

afterEach(async () => {
  // no demo, no samples
  visits.forgive('/samples/index.json')
  await visits.end()
  for (const gateway of opened.splice(0)) await gateway.close()
})

async function visitGateway(options: FixtureOptions): Promise<{ page: Page; gateway: GatewayFixture }> {
  const gateway = await openGateway(options)
  opened.push(gateway)
  for (const replica of options.replicas ?? [gateway.replica])
    replica.hits = await Promise.all(replica.hits.map(found => withPicture(gateway, found)))
  const url = await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const page = await visits.visit(url)
  return { page, gateway }
}

/** A picture of its own for each product. */
async function withPicture(gateway: GatewayFixture, found: ShardHit): Promise<ShardHit> {
  const { digest } = await gateway.blobs.put(await readFile(pictures[found.itemId] ?? chair), 1_000_000)
  return { ...found, item: { ...found.item, imageDigests: [digest] } }
}

function twoShards(): readonly [TableReplica, TableReplica] {
  const [first, second] = [0, 1].map(
    shard => new TableReplica({ shard, partitions: allPartitions.filter(partition => partition % 2 === shard) }),
  ) as [TableReplica, TableReplica]
  first.hits = [hit('lamp', 0.9)]
  second.hits = [hit('sofa', 0.8)]
  return [first, second]
}

test('a shard that is too slow: the rest is shown, and what is missing is said', async () => {
  const replicas = twoShards()
  const [, slow] = replicas
  slow.trouble = 'hang'
  const routing = () => [{ ...generation, shards: 2 }]
  const { page } = await visitGateway({
    replicas,
    ports: { routing },
    options: { fanout: { ...defaultFanoutOptions, shardTimeoutMs: 300 } },
  })
  await openPhoto(page, laundry)
  await page
    .getByText('Answered by 1 of 2 shards: part of the index was too slow. Some products may be missing.')
    .waitFor()
  expect(await titles(page)).toEqual(['Title of lamp'])
  await visits.keep(page, 'slow-shard')
  slow.trouble = null
  await page.getByRole('button', { name: 'Whole picture' }).click()
  await page.getByText('Title of sofa').waitFor()
  expect(await page.getByText('Answered by 1 of 2').isVisible()).toBe(false)
})

test('all shards gone: says so, counts down, and has the answer when they are back', async () => {
  const replicas = twoShards()
  const routing = () => [{ ...generation, shards: 2 }]
  const { page } = await visitGateway({ replicas, ports: { routing } })
  for (const replica of replicas) replica.trouble = new FreshetError('replica-unavailable', 'gone')
  await page.setInputFiles('#file-input', laundry)
  const alert = page.getByRole('alert')
  await alert.getByText(/^Asking again in \d s…$/).waitFor()
  await visits.keep(page, 'all-shards-gone')
  for (const replica of replicas) replica.trouble = null
  await untilAnswered(page)
  expect(await titles(page)).toEqual(['Title of lamp', 'Title of sofa'])
  expect(await alert.count()).toBe(0)
  visits.forgive('/v1/search', '503')
})

test('nearly the same products are shown once, and opened in their place', async () => {
  const replica = new TableReplica({ partitions: allPartitions })
  replica.hits = [hit('lamp', 0.9), hit('lamp-again', 0.9), hit('sofa', 0.5)]
  const { page } = await visitGateway({ replicas: [replica] })
  const again = replica.hits[1]!.item
  replica.set(itemId('lamp-again'), { attributes: 4, objects: 4, searchable: true, snapshot: again })
  await openPhoto(page, laundry)
  expect(await titles(page)).toEqual(['Title of lamp', 'Title of sofa'])
  const opener = page.getByRole('button', { name: '1 more like this' })
  await opener.click()
  await page.getByText('Title of lamp-again').waitFor()
  expect(await titles(page)).toEqual(['Title of lamp', 'Title of lamp-again', 'Title of sofa'])
  expect(await opener.getAttribute('aria-expanded')).toBe('true')
  await visits.keep(page, 'nearly-the-same')
  await opener.click()
  expect(await titles(page)).toEqual(['Title of lamp', 'Title of sofa'])
})

test('a photo can be dropped and pasted anywhere; over the form it becomes that of the product', async () => {
  const replica = new TableReplica({ partitions: allPartitions })
  replica.hits = [hit('lamp', 0.9)]
  const { page } = await visitGateway({ replicas: [replica] })
  await handOver(page, 'dragover')
  await page.getByText('Drop the photo to search with it').waitFor()
  await handOver(page, 'drop')
  await untilAnswered(page)
  expect(await page.locator('#drop-cover').isVisible()).toBe(false)
  expect(await titles(page)).toEqual(['Title of lamp'])
  await page.getByRole('link', { name: 'Publish a product' }).click()
  await handOver(page, 'dragover')
  await page.getByText('Drop the photo of your product').waitFor()
  await handOver(page, 'paste')
  await page.getByAltText('Photo of your product').waitFor()
  await page.goBack()
  await handOver(page, 'paste')
  await untilAnswered(page)
  expect(await titles(page)).toEqual(['Title of lamp'])
})

/** A photo in the hand or on the clipboard of the person. */
async function handOver(page: Page, event: 'dragover' | 'drop' | 'paste'): Promise<void> {
  const photo = (await readFile(laundry)).toString('base64')
  const how = event === 'paste' ? 'ClipboardEvent' : 'DragEvent'
  const carrier = event === 'paste' ? 'clipboardData' : 'dataTransfer'
  await page.evaluate(`(() => {
    const bytes = Uint8Array.from(atob('${photo}'), letter => letter.charCodeAt(0))
    const data = new DataTransfer()
    data.items.add(new File([bytes], 'photo.jpg', { type: 'image/jpeg' }))
    document.dispatchEvent(new ${how}('${event}', { ${carrier}: data, bubbles: true, cancelable: true }))
  })()`)
}

test('a server that drains is told from one that is away', async () => {
  const { page } = await visitGateway({})
  const error = new FreshetError('not-ready', 'the server is draining')
  const drain = (route: Route) => route.fulfill({ status: 503, json: error.toBody(), headers: { 'retry-after': '1' } })
  await page.route('**/v1/status', drain)
  await page.route('**/v1/events', drain)
  // the stream that is open ends, as it does when a server drains
  await opened.at(-1)?.app.close()
  await page.getByText('The server is stopping or starting. This page goes on when it is back.').waitFor()
  await page.getByRole('button', { name: 'Not ready' }).waitFor()
  visits.forgive('503')
  visits.forgive('ERR_')
})

test('an overloaded server: the page waits as long as it is told to, then asks again by itself', async () => {
  const replica = new TableReplica({ partitions: allPartitions })
  replica.hits = [hit('lamp', 0.9)]
  const options = { maxConcurrentPictures: 1, maxQueuedQueries: 0 }
  const { page, gateway } = await visitGateway({ replicas: [replica], options })
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  gateway.model.gate = gate
  const other = await visits.visit(page.url())
  await other.setInputFiles('#file-input', laundry)
  await other.getByText('Looking for objects…').waitFor()
  await expect.poll(() => gateway.model.asked.length).toBe(1)
  await page.setInputFiles('#file-input', laundry)
  const alert = page.getByRole('alert')
  await alert.getByText(/^Asking again in \d s…$/).waitFor()
  await visits.keep(page, 'overloaded')
  open()
  await untilAnswered(page)
  expect(await titles(page)).toEqual(['Title of lamp'])
  visits.forgive('503')
})

test('a part of the index that is not ready is named', async () => {
  const replicas = twoShards()
  replicas[1].state = 'catching-up'
  const { page } = await visitGateway({ replicas, ports: { routing: () => [{ ...generation, shards: 2 }] } })
  await page.getByText('1 shard of 2 not ready: answers may miss some products.').waitFor()
  await page.getByRole('button', { name: /s old$/ }).click()
  await page.locator('#live').getByText('catching up').waitFor()
  await page.locator('#live').getByText('Shards: 1 of 2 replicas ready').waitFor()
  await page.locator('#live').getByText('generation g1 · model v1').first().waitFor()
  await visits.keep(page, 'shard-not-ready')
  replicas[1].state = 'ready'
  await page.getByText('Shards: 2 of 2 replicas ready').waitFor()
  expect(await page.locator('#connection').textContent()).toBe('')
})

test('a server that stops and comes back: the page says so, keeps what it shows, and goes on by itself', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'freshet-page-'))
  const start = async (port: number) =>
    startServerProcess({ dataDir, port, env: { FRESHET_STUB_MODEL: 'true' }, args: [] })
  const port = await freePort()
  let server = await start(port)
  try {
    const page = await visits.visit(server.url)
    await page.getByRole('button', { name: /s old$/ }).click()
    await page.locator('#live').getByText('Shard 0').waitFor()
    await server.stop()
    await page.getByText('The server does not answer. What you see may be out of date').waitFor()
    await page.getByText('These figures are the last that were heard.').waitFor()
    await visits.keep(page, 'server-away')
    server = await start(port)
    await page.getByRole('button', { name: /s old$/ }).waitFor()
    expect(await page.locator('#connection').textContent()).toBe('')
    await page.close()
    visits.forgive('ERR_')
    visits.forgive('503')
  } finally {
    await server.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
})
