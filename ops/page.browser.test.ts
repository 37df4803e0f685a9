import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
  type Request,
} from 'playwright-core'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { DetectAnswer, SearchAnswer } from '../schemas/http-search.ts'
import { findChromium } from './chromium.mjs'
import { demoDirectory } from './demo-catalog.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

const demoProducts = 820
/** Under a minute on two idle cores; a machine that runs other things too gets more. */
const indexedWithinMs = 240_000
/** The most salient thing in it is a dryer, beside a child's chair and a calendar. */
const laundry = join(demoDirectory, 'rooms', 'room-008.jpg')
const bar = join(demoDirectory, 'rooms', 'room-005.jpg')
const phone: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
  deviceScaleFactor: 2,
}
const launchArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
]

let dataDir: string
let screenshotDir: string
let server: ServerProcess
let browser: Browser
/** What no visit may leave behind: console errors, exceptions, requests to other hosts. */
let trouble: string[] = []

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'freshet-page-'))
  screenshotDir = process.env.SCREENSHOT_DIR ?? join(dataDir, 'screenshots')
  const executablePath = findChromium(process.env)
  if (executablePath === null) throw new Error('no Chromium was found; set CHROMIUM_PATH or install chromium')
  browser = await chromium.launch({ executablePath, args: launchArguments })
  server = await startServerProcess({ dataDir: join(dataDir, 'data'), args: ['--demo'] })
})

afterAll(async () => {
  await browser?.close()
  await server?.stop()
  await rm(dataDir, { recursive: true, force: true })
})

afterEach(async () => {
  for (const context of browser.contexts()) await context.close()
  const left = trouble
  trouble = []
  expect(left).toEqual([])
})

// In this order: the first test watches the index fill that the others search.

test(
  'shows the catalogue becoming searchable, then how fresh the index is',
  async () => {
    const page = await visit()
    await page.locator('#indexing').waitFor()
    await page.locator('.arrival').first().waitFor({ timeout: indexedWithinMs })
    await keepScreenshot(page, 'indexing')
    await page.locator('#indexing').waitFor({ state: 'hidden', timeout: indexedWithinMs })
    const pill = page.getByRole('button', { name: new RegExp(`^${demoProducts} products · 0\\.\\d s old$`) })
    await pill.click({ timeout: indexedWithinMs })
    const panel = page.locator('#live')
    await panel.getByText('Shard 0').waitFor()
    expect(await panel.locator('.counts').textContent()).toContain(String(demoProducts))
    await keepScreenshot(page, 'live-panel')
  },
  2 * indexedWithinMs,
)

test('finds the objects of a photo, searches the most salient at once and another one when it is tapped', async () => {
  const page = await visit()
  await keepScreenshot(page, 'landing')
  await openPhoto(page, laundry)
  const objects = page.locator('.object')
  expect(await objects.count()).toBeGreaterThan(2)
  expect(await page.locator('.object[aria-pressed="true"]').count()).toBe(1)
  expect(await titles(page)).toContain('Dryer machine')
  await keepScreenshot(page, 'photo')
  const before = await titles(page)
  const search = nextSearch(page)
  await otherObject(page).first().click()
  expect((await search).object).toBeTypeOf('number')
  await untilAnswered(page)
  expect(await titles(page)).not.toEqual(before)
  expect(await page.locator('.object[aria-pressed="true"]').count()).toBe(1)
})

test('searches a sample photo, the whole picture, and a box drawn with the mouse', async () => {
  const page = await visit()
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

test('filters, and takes the filters back', async () => {
  const page = await visit()
  await openPhoto(page, bar)
  const all = await titles(page)
  await page.locator('[data-category]').first().click()
  await untilAnswered(page)
  const category = await page.locator('[data-category]').first().textContent()
  expect(new Set(await page.locator('.card-category').allTextContents())).toEqual(new Set([category]))
  await page.getByText('More filters').click()
  await page.getByLabel('Available only').check()
  await untilAnswered(page)
  expect(await page.getByText('Unavailable').count()).toBe(0)
  const priced = nextSearch(page)
  await page.getByLabel('Price from').fill('1000000')
  expect((await priced).filter).toMatchObject({ available: true, category: [category], price: { min: 1_000_000 } })
  await page.getByText('Nothing found that passes the filters.').waitFor()
  await page.getByRole('button', { name: 'Clear filters' }).click()
  await untilAnswered(page)
  expect(await titles(page)).toEqual(all)
  expect(await page.getByText('are made up').isVisible()).toBe(true)
})

test('follows a result to more like it, and comes back with the browser', async () => {
  const page = await visit()
  await openPhoto(page, bar)
  const first = await titles(page)
  await page.locator('.card').first().click()
  await page.getByText('Products that look like').waitFor()
  await untilAnswered(page)
  expect(new URL(page.url()).searchParams.get('item')).toBeTruthy()
  expect(await page.locator('#product h2').textContent()).toBe(first[0])
  await keepScreenshot(page, 'more-like-this')
  const shared = await visit({}, page.url())
  await shared.getByText('Products that look like').waitFor()
  await page.goBack()
  await page.locator('.object').first().waitFor()
  await untilAnswered(page)
  expect(await titles(page)).toEqual(first)
  await page.goBack()
  await page.getByRole('heading', { name: 'Find it by a photo' }).waitFor()
})

test('works without a pointer', async () => {
  const page = await visit()
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
  const page = await visit()
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
  const page = await visit()
  await page.setInputFiles('#file-input', { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') })
  const alert = page.getByRole('alert')
  await alert.getByText('Choose a JPEG, PNG, WebP, AVIF, GIF or TIFF photo.').waitFor()
  await keepScreenshot(page, 'refused')
  await page.setInputFiles('#file-input', {
    name: 'IMG_1.HEIC',
    mimeType: 'image/heic',
    buffer: Buffer.from('ftypheic'),
  })
  await alert.getByText('cannot read HEIC').waitFor()
  trouble = trouble.filter(line => !(line.includes('/v1/detect') && line.includes('422')))
  await openPhoto(page, bar)
  expect(await alert.count()).toBe(0)
})

test('fits a phone, and a finger draws a box there', async () => {
  const page = await visit({ ...phone, colorScheme: 'dark' })
  await keepScreenshot(page, 'phone-landing')
  await openPhoto(page, laundry)
  await keepScreenshot(page, 'phone-photo')
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
  const page = await visit()
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

test('admits a partial answer, and offers to try again when there is none', async () => {
  const page = await visit()
  await page.route(
    '**/v1/search',
    async route => {
      const response = await route.fetch()
      const answer = (await response.json()) as SearchAnswer
      await route.fulfill({
        response,
        json: { ...answer, coverage: { answered: 1, total: 2 }, degraded: ['shard-timeout'] },
      })
    },
    { times: 1 },
  )
  await openPhoto(page, bar)
  await page.getByText('Answered by 1 of 2 shards: part of the index was too slow.').waitFor()
  await page.route('**/v1/search', route => route.abort('connectionrefused'), { times: 1 })
  await page.getByRole('button', { name: 'Whole picture' }).click()
  await page.getByRole('alert').getByText('The server does not answer.').waitFor()
  trouble = trouble.filter(line => !line.includes('ERR_CONNECTION_REFUSED'))
  await page.getByRole('button', { name: 'Try again' }).click()
  await untilAnswered(page)
  expect(await titles(page)).not.toEqual([])
  expect(await page.getByText('Answered by 1 of 2').isVisible()).toBe(false)
})

test('falls back to asking for the status when the stream of events is not to be had', async () => {
  const page = await visit({}, server.url, async page => {
    await page.route('**/v1/events', route => route.fulfill({ status: 204 }))
  })
  await page.getByRole('button', { name: `${demoProducts} products` }).waitFor()
  trouble = trouble.filter(line => !line.includes('/v1/events'))
})

test('names every control, describes every picture, and has enough contrast in both schemes', async () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await visit({ colorScheme })
    expect(await namelessParts(page)).toEqual([])
    await openPhoto(page, laundry)
    await page.getByText('More filters').click()
    await page.getByRole('button', { name: /s old$/ }).click()
    expect(await namelessParts(page)).toEqual([])
    await keepScreenshot(page, `search-${colorScheme}`)
    for (const [text, ground] of textColours)
      expect(contrast(await colour(page, text), await colour(page, ground)), `${text} on ${ground}`).toBeGreaterThan(
        4.5,
      )
  }
})

async function visit(
  options: BrowserContextOptions = {},
  url = server.url,
  prepare: (page: Page) => Promise<void> = async () => {},
): Promise<Page> {
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
    reducedMotion: 'reduce',
    ...options,
  })
  const page = await context.newPage()
  page.on('pageerror', error => trouble.push(`exception: ${error.stack ?? error.message}`))
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning')
      trouble.push(`console: ${message.text()} ${message.location().url}`)
  })
  page.on('request', request => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith('blob:'))
      trouble.push(`request: ${request.url()}`)
  })
  await prepare(page)
  const response = await page.goto(url)
  const policy = response?.headers()['content-security-policy']
  expect(policy).toContain("script-src 'self'")
  expect(policy).not.toContain('unsafe')
  await page.getByRole('button', { name: /s old$/ }).waitFor()
  return page
}

async function openPhoto(page: Page, path: string): Promise<void> {
  await page.setInputFiles('#file-input', path)
  await page.locator('.object').first().waitFor()
  await untilAnswered(page)
}

/** The grid is marked busy from the request to the answer, and shows cards or says that there are none after it. */
async function untilAnswered(page: Page): Promise<void> {
  await page.locator('#results:not([aria-busy])').waitFor({ state: 'attached' })
  await page
    .locator('#result-count')
    .getByText(/result|Nothing/)
    .waitFor()
}

/** Dots of the objects that are not searched now. */
function otherObject(page: Page): Locator {
  return page.locator('.object-dot:not([hidden])')
}

function titles(page: Page): Promise<string[]> {
  return page.locator('.card-title').allTextContents()
}

interface SearchBody {
  readonly object?: number
  readonly box?: readonly number[]
  readonly filter?: object
}

async function nextSearch(page: Page): Promise<SearchBody> {
  const isSearch = (request: Request): boolean => new URL(request.url()).pathname === '/v1/search'
  return (await page.waitForRequest(isSearch)).postDataJSON() as SearchBody
}

type Corners = readonly [number, number, number, number]

function expectBox(box: readonly number[] | undefined, expected: Corners): void {
  for (const [side, fraction] of expected.entries()) expect(box?.[side]).toBeCloseTo(fraction, 1)
}

async function dragOver(page: Page, [left, top, right, bottom]: Corners): Promise<void> {
  const from = await pointOf(page, left, top)
  const to = await pointOf(page, right, bottom)
  await page.mouse.move(from.x, from.y)
  await page.mouse.down()
  await page.mouse.move(to.x, to.y, { steps: 5 })
  await page.mouse.up()
}

async function dragCorner(page: Page, corner: string, [x, y]: readonly [number, number]): Promise<void> {
  const to = await pointOf(page, x, y)
  await page.locator(`.handle-${corner}`).hover()
  await page.mouse.down()
  await page.mouse.move(to.x, to.y, { steps: 5 })
  await page.mouse.up()
}

async function fingerOver(page: Page, [left, top, right, bottom]: Corners): Promise<void> {
  const from = await pointOf(page, left, top)
  const to = await pointOf(page, right, bottom)
  const session = await page.context().newCDPSession(page)
  const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', touchPoints: { x: number; y: number }[]) =>
    session.send('Input.dispatchTouchEvent', { type, touchPoints })
  await touch('touchStart', [from])
  for (const share of [0.25, 0.5, 0.75, 1])
    await touch('touchMove', [{ x: from.x + (to.x - from.x) * share, y: from.y + (to.y - from.y) * share }])
  await touch('touchEnd', [])
}

/** Point of the viewport at these fractions of the photo. */
async function pointOf(page: Page, x: number, y: number): Promise<{ x: number; y: number }> {
  const box = await page.locator('#stage').boundingBox()
  if (box === null) throw new Error('the photo is not shown')
  return { x: box.x + box.width * x, y: box.y + box.height * y }
}

async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 60; presses++) {
    if ((await page.locator(`${selector}:focus`).count()) > 0) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`the Tab key does not reach ${selector}`)
}

/** Lines of the accessibility tree with a control or picture that says nothing of itself. */
async function namelessParts(page: Page): Promise<string[]> {
  const tree = await page.locator('body').ariaSnapshot()
  return tree
    .split('\n')
    .filter(line => /^\s*- (button|link|img|checkbox|combobox|spinbutton|progressbar)(:|$)/.test(line))
}

const textColours = [
  ['--ink', '--ground'],
  ['--ink', '--surface'],
  ['--ink', '--bad-soft'],
  ['--quiet', '--ground'],
  ['--quiet', '--surface'],
  ['--quiet', '--raised'],
  ['--accent', '--surface'],
  ['--accent', '--accent-soft'],
  ['--accent-ink', '--accent'],
  ['--warn', '--warn-soft'],
] as const

async function colour(page: Page, property: string): Promise<readonly number[]> {
  const value = await page.evaluate<string>(
    `getComputedStyle(document.documentElement).getPropertyValue('${property}')`,
  )
  return [1, 3, 5].map(at => Number.parseInt(value.trim().slice(at, at + 2), 16))
}

/** Contrast ratio as WCAG 2 defines it, 1 to 21. */
function contrast(one: readonly number[], other: readonly number[]): number {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (lighter! + 0.05) / (darker! + 0.05)
}

function luminance(rgb: readonly number[]): number {
  const [red, green, blue] = rgb.map(value => {
    const share = value / 255
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}

async function keepScreenshot(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(screenshotDir, `${name}.png`) })
}
