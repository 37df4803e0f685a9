import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
  type Request,
} from 'playwright-core'
import { expect } from 'vitest'
import { findChromium } from '../chromium.mjs'
import { demoDirectory } from '../demo-catalog.ts'

/** The most salient thing in it is a dryer, beside a child's chair and a calendar. */
export const laundry = join(demoDirectory, 'rooms', 'room-008.jpg')
export const bar = join(demoDirectory, 'rooms', 'room-005.jpg')

export const desktop: BrowserContextOptions = { viewport: { width: 1280, height: 860 } }
export const phone: BrowserContextOptions = {
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

/** A machine that runs other things too is slow, and no test measures time. */
const patienceMs = 90_000

interface Visit {
  readonly context?: BrowserContextOptions
  /** Before the page is loaded. */
  readonly prepare?: (page: Page) => Promise<void>
  /** A server that is well says how old its index is; false for one that does not. */
  readonly isWell?: boolean
}

/** Visits of the page in a real Chromium, and what no visit may leave behind: errors, and requests to other hosts. */
export class PageVisits {
  readonly #browser: Browser
  readonly #screenshotDirectory: string | null
  #trouble: string[] = []
  /** Parts of lines, all of which are in each. */
  #forgiven: (readonly string[])[] = []

  private constructor(browser: Browser, screenshotDirectory: string | null) {
    this.#browser = browser
    this.#screenshotDirectory = screenshotDirectory
  }

  static async open(): Promise<PageVisits> {
    const executablePath = findChromium(process.env)
    if (executablePath === null) throw new Error('no Chromium was found; set CHROMIUM_PATH or install chromium')
    const browser = await chromium.launch({ executablePath, args: launchArguments })
    return new PageVisits(browser, process.env.SCREENSHOT_DIR ?? null)
  }

  async visit(url: string, { context: wanted = {}, prepare, isWell = true }: Visit = {}): Promise<Page> {
    const context = await this.#browser.newContext({
      viewport: { width: 1440, height: 900 },
      reducedMotion: 'reduce',
      ...wanted,
    })
    context.setDefaultTimeout(patienceMs)
    const page = await context.newPage()
    this.#watch(page, new URL(url).origin)
    await prepare?.(page)
    const response = await page.goto(url)
    const policy = response?.headers()['content-security-policy']
    expect(policy).toContain("script-src 'self'")
    expect(policy).not.toContain('unsafe')
    if (isWell) await page.getByRole('button', { name: /s old$/ }).waitFor()
    return page
  }

  #watch(page: Page, origin: string): void {
    page.on('pageerror', error => this.#trouble.push(`exception: ${error.stack ?? error.message}`))
    page.on('console', message => {
      if (message.type() === 'error' || message.type() === 'warning')
        this.#trouble.push(`console: ${message.text()} ${message.location().url}`)
    })
    page.on('request', request => {
      if (!request.url().startsWith(origin) && !request.url().startsWith('blob:'))
        this.#trouble.push(`request: ${request.url()}`)
    })
  }

  /** Trouble that the test itself has made, or is about to be told of: the browser tells a little later. */
  forgive(...parts: readonly string[]): void {
    this.#forgiven.push(parts)
  }

  /** After each test: closes its pages, and fails when they left trouble behind. */
  async end(): Promise<void> {
    for (const context of this.#browser.contexts()) await context.close()
    const left = this.#trouble.filter(line => !this.#forgiven.some(parts => parts.every(part => line.includes(part))))
    this.#trouble = []
    this.#forgiven = []
    expect(left).toEqual([])
  }

  close(): Promise<void> {
    return this.#browser.close()
  }

  /** For people to look at, in `SCREENSHOT_DIR`; without it no picture is taken. */
  async keep(page: Page, name: string): Promise<void> {
    if (this.#screenshotDirectory === null) return
    const path = join(this.#screenshotDirectory, `${name}.png`)
    await mkdir(dirname(path), { recursive: true })
    await page.screenshot({ path })
  }
}

export async function openPhoto(page: Page, path: string): Promise<void> {
  await page.setInputFiles('#file-input', path)
  await page.locator('.object').first().waitFor()
  await untilAnswered(page)
}

/** The grid is marked busy from the request to the answer, and shows cards or says that there are none after it. */
export async function untilAnswered(page: Page): Promise<void> {
  await page.locator('#results:not([aria-busy])').waitFor({ state: 'attached' })
  await page
    .locator('#result-count')
    .getByText(/result|Nothing/)
    .waitFor()
}

/** Dots of the objects that are not searched now. */
export function otherObject(page: Page): Locator {
  return page.locator('.object-dot:not([hidden])')
}

export function titles(page: Page): Promise<string[]> {
  return page.locator('.card-title').allTextContents()
}

interface SearchBody {
  readonly object?: number
  readonly box?: readonly number[]
  readonly filter?: object
}

export async function nextSearch(page: Page): Promise<SearchBody> {
  return (await page.waitForRequest(isTo('/v1/search'))).postDataJSON() as SearchBody
}

interface SentEngagement {
  readonly queryId: string
  readonly itemId: string
  readonly action: string
  readonly position: number
}

/** Resolves when the server has accepted it. */
export async function nextEngagement(page: Page): Promise<SentEngagement> {
  const request = await page.waitForRequest(isTo('/v1/engagements'))
  expect((await request.response())?.status()).toBe(202)
  const { engagements } = request.postDataJSON() as { readonly engagements: readonly [SentEngagement] }
  return engagements[0]
}

function isTo(path: string): (request: Request) => boolean {
  return request => new URL(request.url()).pathname === path
}

export type Corners = readonly [number, number, number, number]

export async function dragOver(page: Page, [left, top, right, bottom]: Corners): Promise<void> {
  const from = await pointOf(page, left, top)
  const to = await pointOf(page, right, bottom)
  await page.mouse.move(from.x, from.y)
  await page.mouse.down()
  await page.mouse.move(to.x, to.y, { steps: 5 })
  await page.mouse.up()
}

export async function dragCorner(page: Page, corner: string, [x, y]: readonly [number, number]): Promise<void> {
  const to = await pointOf(page, x, y)
  await page.locator(`.handle-${corner}`).hover()
  await page.mouse.down()
  await page.mouse.move(to.x, to.y, { steps: 5 })
  await page.mouse.up()
}

export async function fingerOver(page: Page, [left, top, right, bottom]: Corners): Promise<void> {
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

export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    if ((await page.locator(`${selector}:focus`).count()) > 0) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`the Tab key does not reach ${selector}`)
}
