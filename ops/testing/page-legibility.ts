import type { Page } from 'playwright-core'

/** Lines of the accessibility tree with a control or picture that says nothing of itself. */
export async function namelessParts(page: Page): Promise<string[]> {
  const tree = await page.locator('body').ariaSnapshot()
  const roles = 'button|link|img|checkbox|combobox|spinbutton|textbox|progressbar|dialog|region|form|group'
  return tree.split('\n').filter(line => new RegExp(`^\\s*- (${roles})(:|$| \\[)`).test(line))
}

/** Text on ground, by the names of the style sheet. */
export const textColours = [
  ['--ink', '--ground'],
  ['--ink', '--surface'],
  ['--ink', '--raised'],
  ['--ink', '--bad-soft'],
  ['--quiet', '--ground'],
  ['--quiet', '--surface'],
  ['--quiet', '--raised'],
  ['--accent', '--surface'],
  ['--accent', '--raised'],
  ['--accent', '--accent-soft'],
  ['--accent-ink', '--accent'],
  ['--warn', '--warn-soft'],
  ['--bad', '--surface'],
  ['--bad', '--bad-soft'],
] as const

/** Contrast ratio as WCAG 2 defines it, 1 to 21. */
export async function contrastOf(page: Page, [text, ground]: readonly [string, string]): Promise<number> {
  const [one, other] = await Promise.all([colour(page, text), colour(page, ground)])
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (lighter! + 0.05) / (darker! + 0.05)
}

async function colour(page: Page, property: string): Promise<readonly number[]> {
  const value = await page.evaluate<string>(
    `getComputedStyle(document.documentElement).getPropertyValue('${property}')`,
  )
  return [1, 3, 5].map(at => Number.parseInt(value.trim().slice(at, at + 2), 16))
}

function luminance(rgb: readonly number[]): number {
  const [red, green, blue] = rgb.map(value => {
    const share = value / 255
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}
