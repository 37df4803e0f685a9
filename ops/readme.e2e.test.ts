import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import { demoDirectory, loadDemo } from './demo-catalog.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

/** The tour of the README, run as it is written: only the address and the places it writes to are others. */
const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')

let scratch: string
let server: ServerProcess

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'freshet-tour-'))
  server = await startServerProcess({
    dataDir: join(scratch, 'data'),
    env: { FRESHET_IMAGE_ROOTS: demoDirectory },
  })
  await loadDemo(new FreshetClient({ baseUrl: server.url }))
}, 180_000)
afterAll(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true })
})

/** The shell block of the tour that begins with these words. */
function block(beginning: string): string {
  const tour = readme.slice(readme.indexOf('## A tour'), readme.indexOf('## How it works'))
  const blocks = [...tour.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, text]) => text!)
  return blocks.find(text => text.startsWith(beginning)) ?? expect.fail(`the tour has no block "${beginning}"`)
}

interface Ran {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

function run(text: string): Ran {
  const here = text.replaceAll('http://127.0.0.1:7480', server.url).replaceAll('/tmp/', `${scratch}/`)
  const { status, stdout, stderr } = spawnSync('bash', ['-c', here], {
    cwd: root,
    encoding: 'utf8',
    env: {
      ...process.env,
      FRESHET_URL: server.url,
      PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}`,
    },
  })
  return { status, out: stdout, err: stderr }
}

const first = /^ *1 {2}.*$/gm
const firstResults = (out: string): readonly string[] => out.match(first) ?? []

test('the tour, from the first search to the restored backup', () => {
  const [oven, lamp, chair] = firstResults(run(block('npx freshet search')).out)
  expect([oven, lamp, chair]).toEqual([
    expect.stringContaining('Microwave'),
    expect.stringContaining('blendswap-cc-by-98'),
    expect.stringContaining('Chair'),
  ])

  const uploaded = JSON.parse(run(block('curl -sT')).out) as { readonly blob: string }
  expect(readme).toContain(`"images": ["${uploaded.blob}"]`)
  const { receipt } = JSON.parse(run(block('curl -s -X PUT http://')).out) as { readonly receipt: string }
  const told = run(block('npx freshet receipt').replace('RECEIPT', receipt))
  expect(told.out).toMatch(/^(accepted|embedded|searchable) {2}my-chair/)
  const waited = run(block("curl -s -X PUT 'http://"))
  expect(waited.out).toContain('"status":"searchable"')
  expect(firstResults(waited.out)[0]).toContain('my-chair')

  const published = run(block('printf'))
  expect(published.err).toContain('line 1: price')
  expect(published.out).toContain('1 published, 1 refused')
  expect(published.status).toBe(1)

  const deleted = run(block('npx freshet delete'))
  expect(deleted.out).toContain('removed  blendswap-cc-by-98')
  expect(firstResults(deleted.out)[0]).not.toContain('blendswap-cc-by-98')

  expect(run(block('npx freshet backup'))).toMatchObject({ status: 0 })
  expect(run(block('npx freshet snapshot'))).toMatchObject({ status: 0 })
})
