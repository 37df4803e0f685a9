import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseKeyLines } from '../../query-gateway/access/api-key.ts'
import { KeyRing } from '../../query-gateway/access/key-ring.ts'
import { runCli } from '../testing/captured-cli.ts'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-key-'))
})

afterEach(() => rmSync(directory, { recursive: true }))

test('a new key is printed alone, with the line that a server takes it by', async () => {
  const { exitCode, out, err } = await runCli(['key', 'new', '--role', 'write', '--name', 'catalog'])
  expect(exitCode).toBe(0)
  expect(out).toHaveLength(1)
  const line = err.join('\n').trim().split('\n').at(-1)!
  expect(new KeyRing(parseKeyLines([line], 'line')).find(out[0]!)).toMatchObject({ name: 'catalog', role: 'write' })
})

test('keys are added to a file that only its owner reads, which is listed without anything secret', async () => {
  const file = join(directory, 'keys.txt')
  const added = ['a', 'b'].map(async name => {
    const { out } = await runCli(['key', 'new', '--role', 'read', '--name', name, '--file', file, '--json'])
    return JSON.parse(out[0]!) as { readonly key: string; readonly line: string }
  })
  const keys = await Promise.all(added)
  expect(statSync(file).mode & 0o777).toBe(0o600)
  const ring = new KeyRing(parseKeyLines(readFileSync(file, 'utf8').split('\n'), file))
  expect(keys.map(({ key }) => ring.find(key)?.name)).toEqual(['a', 'b'])
  const listed = await runCli(['key', 'list', file])
  expect(listed.out.join('\n')).toMatch(/a +read +as configured/)
  for (const { key } of keys) expect(listed.out.join('\n') + readFileSync(file, 'utf8')).not.toContain(key)
})

test.each([
  ['no role', ['--name', 'a']],
  ['a role that is none', ['--role', 'owner', '--name', 'a']],
  ['a name with a space', ['--role', 'read', '--name', 'a b']],
  ['a limit that is none', ['--role', 'read', '--name', 'a', '--requests-per-minute', 'many']],
])('%s is a wrong command line', async (_name, flags) => {
  expect((await runCli(['key', 'new', ...flags])).exitCode).toBe(2)
})
