import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import { runCli } from './testing/captured-cli.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'

let scratch: string
let keysFile: string
let server: ServerProcess

const newKey = async (role: string): Promise<string> => {
  const { out } = await runCli(['key', 'new', '--role', role, '--name', `the-${role}er`, '--file', keysFile])
  return out[0]!
}

/** On all addresses, which it refuses without keys. */
const open = (env: Record<string, string>, args: readonly string[] = []) =>
  startServerProcess({ dataDir: join(scratch, 'data'), args: ['--host', '0.0.0.0', ...args], env })

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'freshet-access-'))
  keysFile = join(scratch, 'keys.txt')
})

afterAll(async () => {
  await server?.stop()
  rmSync(scratch, { recursive: true })
})

test('a server on an open address asks for keys, takes new ones without a restart, and tells them to nobody', async () => {
  await expect(open({ FRESHET_STUB_MODEL: 'true' })).rejects.toThrow(/set access.keysFile/)
  const reader = await newKey('read')
  server = await open({ FRESHET_STUB_MODEL: 'true', FRESHET_ACCESS_KEYS_FILE: keysFile }, ['--demo'])
  const asked = (commandLine: readonly string[], key?: string) =>
    runCli(commandLine, { environment: { FRESHET_URL: server.url, ...(key ? { FRESHET_API_KEY: key } : {}) } })

  const without = await asked(['status'])
  expect([without.exitCode, without.err.join(' ')]).toEqual([1, expect.stringContaining('unauthenticated')])
  expect((await asked(['status', '--json'], reader)).out[0]).toContain('"ready":true')
  const lesser = await asked(['delete', 'some-item'], reader)
  expect([lesser.exitCode, lesser.err.join(' ')]).toEqual([1, expect.stringContaining('needs the role write')])

  // The demo is published by the server itself, with a key that nobody else has.
  const client = new FreshetClient({ baseUrl: server.url, apiKey: reader })
  await vi.waitFor(async () => expect((await client.status()).items.searchable).toBeGreaterThan(0), { timeout: 60_000 })

  const writer = await newKey('write')
  await vi.waitFor(async () => expect((await asked(['delete', 'some-item'], writer)).exitCode).toBe(0), {
    timeout: 60_000,
  })
  for (const key of [reader, writer]) expect(server.output()).not.toContain(key)
})
