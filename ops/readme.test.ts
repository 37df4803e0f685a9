import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { configMarkdown } from './cli/config.ts'
import { parseConfig } from './config.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(`${root}README.md`, 'utf8')

test('the table of options is what `freshet config --markdown` prints', () => {
  const { entries } = parseConfig({ machine: { cores: 4 }, workingDir: '/', environment: {}, flags: {} })
  const [, table] = /<!-- options: begin -->\n([\s\S]*)<!-- options: end -->/.exec(readme) ?? []
  expect(table).toBe(`${configMarkdown(entries).join('\n')}\n`)
})

test('every file and folder it links to is there', () => {
  const links = [...readme.matchAll(/\]\((?!http)([^)#]+)\)/g)].map(([, path]) => path!)
  expect(links.length).toBeGreaterThan(10)
  expect(links.filter(path => !existsSync(root + path))).toEqual([])
})
