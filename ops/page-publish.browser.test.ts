import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { demoDirectory } from './demo-catalog.ts'
import { namelessParts } from './testing/page-legibility.ts'
import { desktop, laundry, nextSearch, PageVisits, phone, tabTo, titles, untilAnswered } from './testing/page-visits.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

/** Large enough for a product picture, and too small for a photo of a room. */
const imageBytes = 32 * 1024
const chair = join(demoDirectory, 'views', 'blendswap-cc-0-31.webp')
const lamp = join(demoDirectory, 'images', 'blendswap-cc-by-98.webp')

let dataDir: string
let server: ServerProcess
let visits: PageVisits

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'freshet-page-'))
  visits = await PageVisits.open()
  const env = { FRESHET_LIMITS_IMAGE_BYTES: String(imageBytes) }
  server = await startServerProcess({ dataDir: join(dataDir, 'data'), env })
})

afterAll(async () => {
  await visits?.close()
  await server?.stop()
  await rm(dataDir, { recursive: true, force: true })
})

afterEach(() => visits.end())

// In this order: the first test sees the index empty.

test('an empty index says so, and a product published there is found by its photo until it is deleted', async () => {
  const page = await visits.visit(server.url, { context: desktop })
  await page.getByRole('heading', { name: 'The index is empty' }).waitFor()
  await visits.keep(page, 'empty-index')
  await page.getByRole('link', { name: 'Publish the first one here' }).click()
  await page.getByRole('heading', { name: 'Publish a product' }).waitFor()
  await visits.keep(page, 'publish-form')
  await page.setInputFiles('#file-input', chair)
  await page.getByAltText('Photo of your product').waitFor()
  await page.getByLabel('Title', { exact: true }).fill('My grandmother’s chair')
  await page.getByLabel('Category', { exact: true }).fill('Chairs')
  await page.getByLabel('Price', { exact: true }).fill('25')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByText(/^My grandmother’s chair can be found, \d+\.\d\d s after the catalogue accepted it\.$/).waitFor()
  expect(await page.locator('.step.reached').count()).toBe(4)
  await visits.keep(page, 'published')
  await page.getByRole('button', { name: 'Find it by its photo' }).click()
  await untilAnswered(page)
  expect(await titles(page)).toEqual(['My grandmother’s chair'])
  expect(await page.locator('.card').getByText('Yours').isVisible()).toBe(true)
  expect(await page.locator('.card-price').innerText()).toMatch(/25/)
  await page.goBack()
  await page.getByRole('button', { name: 'Delete it again' }).click()
  await page.getByText(/^My grandmother’s chair is gone from the index, /).waitFor()
  const searched = nextSearch(page)
  await page.goForward()
  await searched
  await page.getByText('Nothing found. The index may still be empty.').waitFor()
  expect(await titles(page)).toEqual([])
})

test('a product can be published on a phone, and without a pointer', async () => {
  const page = await visits.visit(`${server.url}/?publish`, { context: { ...phone, colorScheme: 'dark' } })
  await tabTo(page, '#publish-choose')
  const chooser = page.waitForEvent('filechooser')
  // the browser takes a moment to hand choosers over to the test
  await page.locator('#publish-choose:focus').waitFor()
  await page.keyboard.press('Enter')
  await (await chooser).setFiles(lamp)
  await page.getByAltText('Photo of your product').waitFor()
  await tabTo(page, '#publish-title')
  await page.keyboard.type('Desk lamp')
  await page.keyboard.press('Enter')
  await page.getByText(/^Desk lamp can be found, /).waitFor()
  await visits.keep(page, 'phone-published')
  expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBe(390)
  expect(await namelessParts(page)).toEqual([])
  await tabTo(page, '#publish-another')
  await page.keyboard.press('Enter')
  expect(await page.getByLabel('Title', { exact: true }).inputValue()).toBe('')
  expect(await page.locator('#publish-title:focus').count()).toBe(1)
})

test('a product without a photo, or with a wrong price, is not sent', async () => {
  const page = await visits.visit(`${server.url}/?publish`)
  await page.getByLabel('Title', { exact: true }).fill('Nothing to see')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByText('Choose a photo of the product first.').waitFor()
  await page.setInputFiles('#file-input', chair)
  await page.getByLabel('Price', { exact: true }).fill('-1')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  expect(await page.locator('#publish-price:invalid').count()).toBe(1)
  expect(await page.locator('#publish-progress').isVisible()).toBe(false)
})

test('an upload that breaks can be tried again; one that is refused says why', async () => {
  const page = await visits.visit(`${server.url}/?publish`)
  await fill(page, chair, 'Chair of a bad line')
  await page.route('**/v1/blobs', route => route.abort('connectionreset'), { times: 1 })
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  const alert = page.getByRole('alert')
  await alert.getByText('The server does not answer.').waitFor()
  visits.forgive('ERR_CONNECTION_RESET')
  await visits.keep(page, 'upload-failed')
  await alert.getByRole('button', { name: 'Try again' }).click()
  await page.getByText(/^Chair of a bad line can be found, /).waitFor()
  expect(await alert.count()).toBe(0)

  await page.getByRole('button', { name: 'Publish another' }).click()
  await fill(page, laundry, 'A whole laundry')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await alert.getByText('Choose a smaller photo.').waitFor()
  visits.forgive('/v1/blobs', '413')
})

test('a picture that nobody can read fails by name', async () => {
  const page = await visits.visit(`${server.url}/?publish`)
  const whole = await readFile(join(demoDirectory, 'rooms', 'room-005.jpg'))
  const cut = { name: 'cut.jpg', mimeType: 'image/jpeg', buffer: Buffer.concat([whole.subarray(0, 300)]) }
  await page.setInputFiles('#file-input', cut)
  await page.getByText('This browser cannot show the photo. The server may read it.').waitFor()
  await page.getByLabel('Title', { exact: true }).fill('A torn picture')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByText('It cannot be found. Open the photo, save it again, or choose another one.').waitFor()
  await visits.keep(page, 'publish-failed')
  expect(await page.getByRole('button', { name: 'Find it by its photo' }).isVisible()).toBe(false)
})

async function fill(page: Page, photo: string, title: string): Promise<void> {
  await page.setInputFiles('#file-input', photo)
  await page.getByAltText('Photo of your product').waitFor()
  await page.getByLabel('Title', { exact: true }).fill(title)
}
