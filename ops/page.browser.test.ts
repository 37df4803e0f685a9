import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { DetectAnswer } from '../schemas/http-search.ts'
import { contrastOf, namelessParts, textColours } from './testing/page-legibility.ts'
import {
  bar,
  type Corners,
  desktop,
  dragCorner,
  dragOver,
  fingerOver,
  laundry,
  nextEngagement,
  nextSearch,
  openPhoto,
  otherObject,
  PageVisits,
  phone,
  tabTo,
  titles,
  untilAnswered,
} from './testing/page-visits.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

const demoProducts = 820
/** Under a minute on two idle cores; a machine that runs other things too gets more. */
const indexedWithinMs = 600_000

let dataDir: string
let server: ServerProcess
let visits: PageVisits

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'freshet-page-'))
  visits = await PageVisits.open()
  server = await startServerProcess({ dataDir: join(dataDir, 'data'), args: ['--demo'] })
})

afterAll(async () => {
  await visits?.close()
  await server?.stop()
  await rm(dataDir, { recursive: true, force: true })
})

afterEach(() => visits.end())

// In this order: the first test watches the index fill that the others search.

test(
  'shows the catalogue becoming searchable, then how fresh the index is',
  async () => {
    const page = await visits.visit(server.url)
    await page.locator('#indexing').waitFor()
    await page.locator('.arrival').first().waitFor({ timeout: indexedWithinMs })
    await visits.keep(page, 'indexing')
    await page.locator('#indexing').waitFor({ state: 'hidden', timeout: indexedWithinMs })
    const pill = page.getByRole('button', { name: new RegExp(`^${demoProducts} products · 0\\.\\d s old$`) })
    await pill.click({ timeout: indexedWithinMs })
    const panel = page.locator('#live')
    await panel.getByText('Shard 0').waitFor()
    expect(await panel.locator('.counts').textContent()).toContain(String(demoProducts))
    await visits.keep(page, 'live-panel')
  },
  2 * indexedWithinMs,
)

test('finds the objects of a photo, searches the most salient at once and another one when it is tapped', async () => {
  const page = await visits.visit(server.url)
  await visits.keep(page, 'landing')
  await openPhoto(page, laundry)
  const objects = page.locator('.object')
  expect(await objects.count()).toBeGreaterThan(2)
  expect(await page.locator('.object[aria-pressed="true"]').count()).toBe(1)
  expect(await titles(page)).toContain('Dryer machine')
  await visits.keep(page, 'photo')
  const before = await titles(page)
  const search = nextSearch(page)
  await otherObject(page).first().click()
  expect((await search).object).toBeTypeOf('number')
  await untilAnswered(page)
  expect(await titles(page)).not.toEqual(before)
  expect(await page.locator('.object[aria-pressed="true"]').count()).toBe(1)
})

test('searches a sample photo, the whole picture, and a box drawn with the mouse', async () => {
  const page = await visits.visit(server.url)
  await page.getByRole('button', { name: 'Sample photo 1' }).click()
  await untilAnswered(page)
  const whole = nextSearch(page)
  await page.getByRole('button', { name: 'Whole picture' }).click()
  expect((await whole).box).toEqual([0, 0, 1, 1])
  await untilAnswered(page)
  expect(await page.locator('.frame').isVisible()).toBe(false)
  const drawn = nextSearch(page)
  await dragOver(page, [0.3, 0.2, 0.6, 0.9])
  expectBox((await drawn).box, [0.3, 0.2, 0.6, 0.9])
  await untilAnswered(page)
  expect(await page.locator('.frame').isVisible()).toBe(true)
  expect(await page.locator('.object[aria-pressed="true"]').count()).toBe(0)
  const sized = nextSearch(page)
  await dragCorner(page, 'se', [0.8, 0.95])
  expectBox((await sized).box, [0.3, 0.2, 0.8, 0.95])
})

test('counts what there is to filter by, filters, and takes the filters back', async () => {
  const page = await visits.visit(server.url)
  await openPhoto(page, bar)
  const [first] = await titles(page)
  const chip = page.locator('#filter-categories .chip').first()
  const category = await chip.locator('.chip-text').innerText()
  expect(Number(await chip.locator('.chip-count').innerText())).toBeGreaterThan(0)
  const others = await page.locator('#filter-categories .chip-count').allInnerTexts()
  await chip.click()
  await untilAnswered(page)
  expect(new Set(await page.locator('.card-category').allTextContents())).toEqual(new Set([category]))
  // the counts of what was not chosen still say what choosing it instead would bring
  expect((await page.locator('#filter-categories .chip-count').allInnerTexts()).slice(1)).toEqual(others.slice(1))
  await page.getByText('More filters').click()
  await page.getByLabel('Available only').check()
  await untilAnswered(page)
  expect(await page.getByText('Unavailable').count()).toBe(0)
  expect(await page.locator('#filter-region option').nth(1).textContent()).toMatch(/^.+ \(\d+\)$/)
  await visits.keep(page, 'filters')
  const barred = nextSearch(page)
  await page.locator('.price-bar:enabled').first().click()
  const { filter } = await barred
  expect(filter).toMatchObject({ price: { min: expect.any(Number), max: expect.any(Number) } })
  await untilAnswered(page)
  const priced = nextSearch(page)
  await page.getByLabel('Price from').fill('1000000')
  expect((await priced).filter).toMatchObject({ available: true, category: [category], price: { min: 1_000_000 } })
  await page.getByText('Nothing found that passes the filters.').waitFor()
  const cleared = nextSearch(page)
  await page.getByRole('button', { name: 'Clear filters' }).click()
  expect((await cleared).filter).toBeUndefined()
  await untilAnswered(page)
  expect((await titles(page))[0]).toBe(first)
  expect(await page.getByText('are made up').isVisible()).toBe(true)
})

test('takes away what a person finds not relevant, tells the server, and takes that back', async () => {
  const page = await visits.visit(server.url)
  await openPhoto(page, bar)
  const first = await page.locator('.card').first().locator('.card-title').innerText()
  const told = nextEngagement(page)
  await page.locator('.card').first().hover()
  await page
    .getByRole('button', { name: `${first} is not relevant` })
    .first()
    .click()
  const engagement = await told
  expect(engagement).toMatchObject({ action: 'notRelevant', position: 0 })
  await page.getByText('is not relevant. Noted.').waitFor()
  await visits.keep(page, 'not-relevant')
  const takenBack = nextEngagement(page)
  await page.keyboard.press('Enter')
  expect(await takenBack).toEqual({ ...engagement, action: 'relevant' })
  expect(await page.locator('.card').first().locator('.card-title').innerText()).toBe(first)
})

test('saves a result, keeps it after a reload, and lets go of it', async () => {
  const page = await visits.visit(server.url)
  await openPhoto(page, bar)
  const first = await page.locator('.card').first().locator('.card-title').innerText()
  const told = nextEngagement(page)
  await page
    .getByRole('button', { name: `Save ${first}` })
    .first()
    .click()
  expect(await told).toMatchObject({ action: 'save', position: 0 })
  await page.reload()
  await page.getByRole('button', { name: 'Saved: 1 product' }).click()
  await page.locator('#saved').getByText(first).waitFor()
  await visits.keep(page, 'saved')
  await page.getByRole('button', { name: `Remove ${first} from the saved ones` }).click()
  await page.getByText('Nothing yet.').waitFor()
  await page.keyboard.press('Escape')
  expect(await page.locator('#saved').isVisible()).toBe(false)
})

test('follows a result to more like it, and comes back with the browser', async () => {
  const page = await visits.visit(server.url)
  await openPhoto(page, bar)
  const first = await titles(page)
  const told = nextEngagement(page)
  await page.locator('.card').first().click()
  expect(await told).toMatchObject({ action: 'click', position: 0 })
  await page.getByText('Products that look like').waitFor()
  await untilAnswered(page)
  expect(new URL(page.url()).searchParams.get('item')).toBeTruthy()
  expect(await page.locator('#product h2').textContent()).toBe(first[0])
  await visits.keep(page, 'more-like-this')
  const shared = await visits.visit(page.url())
  await shared.getByText('Products that look like').waitFor()
  await page.goBack()
  await page.locator('.object').first().waitFor()
  await untilAnswered(page)
  expect((await titles(page))[0]).toBe(first[0])
  await page.goBack()
  await page.getByRole('heading', { name: 'Find it by a photo' }).waitFor()
})

test('works without a pointer', async () => {
  const page = await visits.visit(server.url)
  await page.keyboard.press('Tab')
  expect(await page.locator(':focus').textContent()).toBe('Skip to the search')
  await openPhoto(page, laundry)
  await tabTo(page, '.object')
  const before = await page.locator('.object[aria-pressed="true"]').getAttribute('aria-label')
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('Enter')
  await untilAnswered(page)
  expect(await page.locator('.object[aria-pressed="true"]').getAttribute('aria-label')).not.toBe(before)
  await tabTo(page, '#draw-box')
  await page.keyboard.press('Enter')
  const framed = nextSearch(page)
  for (const key of ['ArrowRight', 'ArrowUp', 'Shift+ArrowRight', 'Shift+ArrowDown', 'Enter'])
    await page.keyboard.press(key)
  expect((await framed).box).toHaveLength(4)
  await untilAnswered(page)
  await tabTo(page, '.card-more')
  await page.keyboard.press('Enter')
  await page.getByText('Products that look like').waitFor()
  await untilAnswered(page)
})

test('sends a large photo smaller and upright', async () => {
  const sideways = await sharp(laundry)
    .resize(3000)
    .rotate(-90)
    .jpeg({ quality: 100 })
    .withMetadata({ orientation: 6 })
    .toBuffer()
  const page = await visits.visit(server.url)
  const detection = page.waitForResponse(response => new URL(response.url()).pathname === '/v1/detect')
  await page.setInputFiles('#file-input', { name: 'IMG_2.JPG', mimeType: 'image/jpeg', buffer: sideways })
  const { image } = (await (await detection).json()) as DetectAnswer
  expect([image.width, image.height]).toEqual([1600, 1067])
  const sentBytes = Number((await (await detection).request().allHeaders())['content-length'])
  expect(sentBytes).toBeLessThan(sideways.length / 2)
  await untilAnswered(page)
  expect(await titles(page)).toContain('Dryer machine')
})

test('says what is wrong with a file that is no photo, and goes on', async () => {
  const page = await visits.visit(server.url)
  await page.setInputFiles('#file-input', { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') })
  const alert = page.getByRole('alert')
  await alert.getByText('Choose a JPEG, PNG, WebP, AVIF, GIF or TIFF photo.').waitFor()
  await visits.keep(page, 'refused')
  await page.setInputFiles('#file-input', {
    name: 'IMG_1.HEIC',
    mimeType: 'image/heic',
    buffer: Buffer.from('ftypheic'),
  })
  await alert.getByText('cannot read HEIC').waitFor()
  visits.forgive('/v1/detect', '422')
  await openPhoto(page, bar)
  expect(await alert.count()).toBe(0)
})

test('fits a phone, and a finger draws a box there', async () => {
  const page = await visits.visit(server.url, { context: { ...phone, colorScheme: 'dark' } })
  await visits.keep(page, 'phone-landing')
  await openPhoto(page, laundry)
  await visits.keep(page, 'phone-photo')
  await otherObject(page).first().tap()
  await untilAnswered(page)
  await page.getByRole('button', { name: 'Draw a box' }).tap()
  const drawn = nextSearch(page)
  await fingerOver(page, [0.2, 0.3, 0.7, 0.8])
  expectBox((await drawn).box, [0.2, 0.3, 0.7, 0.8])
  await untilAnswered(page)
  await page.setViewportSize({ width: 360, height: 740 })
  expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBe(360)
})

test('shows the answer for the object tapped last, whichever comes first', async () => {
  const page = await visits.visit(server.url)
  await openPhoto(page, laundry)
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  await page.route(
    '**/v1/search',
    async route => {
      await held
      // the page has given this request up by then
      await route.abort('aborted')
    },
    { times: 1 },
  )
  const last = await otherObject(page).nth(1).getAttribute('data-object')
  const givenUp = page.waitForEvent('requestfailed')
  await otherObject(page).nth(0).click()
  await page.locator(`.object-dot[data-object="${last}"]`).click()
  await untilAnswered(page)
  expect((await givenUp).failure()?.errorText).toBe('net::ERR_ABORTED')
  release()
  expect(await page.locator('.object[aria-pressed="true"]').getAttribute('data-object')).toBe(last)
})

test('offers to try again when the server does not answer a search', async () => {
  const page = await visits.visit(server.url)
  await openPhoto(page, bar)
  await page.route('**/v1/search', route => route.abort('connectionrefused'), { times: 1 })
  await page.getByRole('button', { name: 'Whole picture' }).click()
  await page.getByRole('alert').getByText('The server does not answer.').waitFor()
  visits.forgive('ERR_CONNECTION_REFUSED')
  await page.getByRole('button', { name: 'Try again' }).click()
  await untilAnswered(page)
  expect(await titles(page)).not.toEqual([])
  expect(await page.getByRole('alert').count()).toBe(0)
})

test('falls back to asking for the status when the stream of events is not to be had', async () => {
  const page = await visits.visit(server.url, {
    prepare: page => page.route('**/v1/events', route => route.fulfill({ status: 204 })).then(() => undefined),
  })
  await page.getByRole('button', { name: `${demoProducts} products` }).waitFor()
})

test('names every control, describes every picture, and has enough contrast in both schemes', async () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await visits.visit(server.url, { context: { ...desktop, colorScheme } })
    expect(await namelessParts(page)).toEqual([])
    await openPhoto(page, laundry)
    await page.getByText('More filters').click()
    await visits.keep(page, `filters-${colorScheme}`)
    await page.getByRole('button', { name: /s old$/ }).click()
    expect(await namelessParts(page)).toEqual([])
    await visits.keep(page, `search-${colorScheme}`)
    for (const pair of textColours) expect(await contrastOf(page, pair), pair.join(' on ')).toBeGreaterThan(4.5)
  }
})

function expectBox(box: readonly number[] | undefined, expected: Corners): void {
  for (const [side, fraction] of expected.entries()) expect(box?.[side]).toBeCloseTo(fraction, 1)
}
