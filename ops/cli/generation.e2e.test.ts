import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FreshetClient } from '../../schemas/client.ts'
import type { BuildAnswer, GenerationDetail, GenerationList, ProofResult } from '../../schemas/http-generations.ts'
import { demoDirectory, loadDemo } from '../demo-catalog.ts'
import { type Captured, runCli } from '../testing/captured-cli.ts'
import { type ServerProcess, startServerProcess } from '../testing/server-process.ts'
import { beyondStubs, writeBounds } from '../testing/switch/canary-bounds.ts'

let scratch: string
let server: ServerProcess

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'freshet-generations-'))
  const env = {
    FRESHET_STUB_MODEL: 'true',
    FRESHET_IMAGE_ROOTS: demoDirectory,
    FRESHET_GENERATIONS_CANARY_BOUNDS: writeBounds(scratch, beyondStubs),
  }
  server = await startServerProcess({ dataDir: join(scratch, 'data'), env })
  await loadDemo(new FreshetClient({ baseUrl: server.url }))
})
afterAll(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true })
})

const cli = (...commandLine: readonly string[]): Promise<Captured> =>
  runCli(['generation', ...commandLine], { environment: { FRESHET_URL: server.url, USER: 'operator-1' } })
const freshet = (...commandLine: readonly string[]): Promise<Captured> =>
  runCli(commandLine, { environment: { FRESHET_URL: server.url } })
const because = (reason: string): readonly string[] => ['--reason', reason]

async function json<T>(...commandLine: readonly string[]): Promise<T> {
  const { out } = await cli(...commandLine, '--json')
  return JSON.parse(out[0]!) as T
}

test('a step needs a reason, and a share that is one', async () => {
  expect((await cli('pause', 'g1')).exitCode).toBe(2)
  const { exitCode, err } = await cli('route', 'g1', '120%', ...because('why'))
  expect(exitCode).toBe(2)
  expect(err.join('\n')).toContain('120% is no share')
})

test('a model is built, proven, switched to, undone and retired from the shell', async () => {
  const estimate = await json<BuildAnswer>('build', 'stub-b', '--dry-run', ...because('test'))
  expect(estimate).toMatchObject({ id: 'g2', generation: null, estimate: { items: 820, toEmbed: 820 } })
  const built = await cli('build', 'stub-b', '--watch', ...because('stub-b is better'))
  expect(built.exitCode).toBe(0)
  expect(built.out[0]).toBe('g2 is being built; it takes about')
  expect(built.err.at(-1)).toMatch(/^g2 \(offsets\) (\d+)\/\1, 820 items/)

  const early = await cli('route', 'g2', '5%', ...because('too early'))
  expect(early.exitCode).toBe(1)
  expect(early.err[0]).toBe('freshet: g2: queries need a certificate and a passed canary (step-refused)')

  const proof = await json<ProofResult>('verify', 'g2', ...because('before the switch'))
  expect(proof).toMatchObject({ passed: true, against: 'g1', summary: '820 items are the same in g2 and g1' })
  const { out } = await cli('show', 'g2', '--evidence', proof.digest)
  expect(createHash('sha256').update(out[0]!).digest('hex')).toBe(proof.digest)

  const canary = await cli('canary', 'g2', ...because('before the switch'))
  expect(canary.out.join('\n')).toContain('g2 against g1: passed')
  expect(canary.exitCode).toBe(0)

  expect((await cli('route', 'g2', '5%', ...because('first look'))).out[0]).toMatch(
    /^g2 is serving; queries: g1 95%, g2 5% \(record \d+, \d+ ms\)$/,
  )
  await cli('route', 'g2', '1', ...because('better'))
  expect((await cli('verify', 'g1', ...because('may we go back?'))).exitCode).toBe(0)
  expect((await cli('rollback', ...because('fewer clicks'))).out[0]).toMatch(/^g2 is standby; queries: g1 100% /)
  await cli('route', 'g2', '100%', ...because('it was the season'))
  const warm = await cli('retire', 'g1', ...because('test'))
  expect([warm.exitCode, warm.err[0]]).toEqual([1, expect.stringContaining('the end of its warm time in 24.0 h')])
  expect((await cli('retire', 'g1', '--force', ...because('test'))).out[0]).toMatch(/^g1 is retired; /)

  const { generations } = await json<GenerationList>('list')
  expect(generations.map(({ id, state, share }) => [id, state, share])).toEqual([
    ['g1', 'retired', 0],
    ['g2', 'active', 1],
  ])
  const lines = (await cli('list')).out
  expect(lines[2]).toMatch(/^g2 +stub-b +active +100% +100% +820 .* g1 +passed$/)
  const shown = (await cli('show', 'g2')).out.join('\n')
  expect(shown).toContain('[active]')
  expect(shown).toMatch(/operator-1 {2}queries to g1 100% +fewer clicks/)
  const { history } = await json<GenerationDetail>('show', 'g1')
  expect(history.map(({ type }) => type)).toContain('GenerationRetired')
})

test('a step that is too early ends with 1 and what is missing; what never had queries goes at once', async () => {
  await cli('build', 'stub-c', '--name', 'other', ...because('test'))
  expect((await cli('pause', 'other', ...because('test'))).out[0]).toMatch(/^other is building; /)
  const refused = await cli('canary', 'other', ...because('too early'))
  expect([refused.exitCode, refused.err[0]]).toEqual([1, 'freshet: other: canary needs a certificate (step-refused)'])
  expect((await cli('retire', 'other', ...because('not wanted'))).exitCode).toBe(0)
})

test('the catalog is replayed into a generation of the same model, which is proven as any other', async () => {
  const replayed = await freshet('replay', '--name', 'again', '--watch', ...because('after a repair'))
  expect(replayed.exitCode).toBe(0)
  const proof = await json<ProofResult>('verify', 'again', ...because('is it the same?'))
  expect(proof).toMatchObject({ passed: true, against: 'g2' })
  const { generations } = await json<GenerationList>('list')
  expect(generations.at(-1)).toMatchObject({ id: 'again', model: 'stub-b', from: null, items: { searchable: 820 } })
})
