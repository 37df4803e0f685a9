import { readFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type AccessOptions, openAccess } from '../query-gateway/access/access-options.ts'
import { keyDigest, keyFrom, type Role } from '../query-gateway/access/api-key.ts'
import { KeyRing } from '../query-gateway/access/key-ring.ts'
import { type GatewayFixture, hit, openGateway } from '../query-gateway/testing/gateway-fixture.ts'
import { namelessParts } from './testing/page-legibility.ts'
import { laundry, nextEngagement, openPhoto, PageVisits, titles } from './testing/page-visits.ts'

/** The page of a gateway that asks for keys. */

const keyOf: Readonly<Record<'read' | 'write', string>> = {
  read: keyFrom(new Uint8Array(32).fill(1)),
  write: keyFrom(new Uint8Array(32).fill(2)),
}
const entryOf = (role: keyof typeof keyOf & Role) => ({
  name: `the-${role}er`,
  role,
  digest: keyDigest(keyOf[role]),
  requestsPerMinute: null,
})

let visits: PageVisits
let gateway: GatewayFixture
let url: string

beforeAll(async () => {
  visits = await PageVisits.open()
})

afterAll(() => visits?.close())

afterEach(async () => {
  visits.forgive('401')
  visits.forgive('/samples/index.json')
  await visits.end()
  await gateway.close()
})

async function serve(access: Partial<AccessOptions>): Promise<void> {
  const keys = new KeyRing([entryOf('read'), entryOf('write')])
  gateway = await openGateway({ options: { access: { ...openAccess, keys, ...access } } })
  const { digest } = await gateway.blobs.put(await readFile(laundry), 1_000_000)
  const found = hit('lamp', 0.9)
  gateway.replica.hits = [{ ...found, item: { ...found.item, imageDigests: [digest] } }]
  url = await gateway.app.listen({ host: '127.0.0.1', port: 0 })
}

async function giveKey(page: Page, key: string): Promise<void> {
  await page.getByLabel('Key', { exact: true }).fill(key)
  await page.getByRole('button', { name: 'Use this key' }).click()
}

test('asks for the key, says when it is a wrong one, and keeps the right one for the tab', async () => {
  await serve({})
  const page = await visits.visit(url, { isWell: false })
  await page.getByRole('dialog', { name: 'This server asks for a key' }).waitFor()
  expect(await namelessParts(page)).toEqual([])
  await visits.keep(page, 'key-wanted')
  await giveKey(page, `${keyOf.read}x`)
  await page.getByText('The server does not accept that key.').waitFor()
  await giveKey(page, keyOf.read)
  await page.getByRole('button', { name: /s old$/ }).waitFor()
  await openPhoto(page, laundry)
  expect(await titles(page)).toEqual(['Title of lamp'])
  const told = nextEngagement(page)
  await page.getByRole('button', { name: 'Save Title of lamp' }).click()
  expect((await told).action).toBe('save')
  await page.reload()
  await page.getByRole('button', { name: /s old$/ }).waitFor()
  expect(await page.getByRole('dialog').count()).toBe(0)
  expect(page.url()).not.toContain(keyOf.read)
})

test('a person who has no key is not asked over and over, and can give it later', async () => {
  await serve({})
  const page = await visits.visit(url, { isWell: false })
  await page.getByRole('dialog').waitFor()
  await page.keyboard.press('Escape')
  await page.getByText('This server asks for a key.').waitFor()
  await page.getByRole('button', { name: 'Key needed' }).waitFor()
  expect(await page.getByRole('dialog').count()).toBe(0)
  await page.getByRole('button', { name: 'Enter a key' }).click()
  await giveKey(page, keyOf.read)
  await page.getByRole('button', { name: /s old$/ }).waitFor()
  expect(await page.locator('#connection').textContent()).toBe('')
})

test('pictures that want a key too are shown', async () => {
  await serve({ open: ['page'] })
  const page = await visits.visit(url, { isWell: false })
  await page.getByRole('dialog').waitFor()
  await giveKey(page, keyOf.read)
  await openPhoto(page, laundry)
  await page.locator('.card .plate img[src^="blob:"]').waitFor()
  const width = () => page.evaluate<number>("document.querySelector('.card .plate img').naturalWidth")
  await expect.poll(width).toBeGreaterThan(0)
})

test('publishing wants a key that may write', async () => {
  await serve({})
  const page = await visits.visit(`${url}/?publish`, { isWell: false })
  await page.getByRole('dialog').waitFor()
  await giveKey(page, keyOf.read)
  await page.setInputFiles('#file-input', laundry)
  await page.getByAltText('Photo of your product').waitFor()
  await page.getByLabel('Title', { exact: true }).fill('A laundry')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByRole('button', { name: 'Use another key' }).click()
  visits.forgive('403')
  await giveKey(page, keyOf.write)
  await page.locator('.step.reached').nth(1).waitFor()
  expect(await page.getByRole('alert').count()).toBe(0)
})
