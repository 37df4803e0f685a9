import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { keyDigest, keyFrom, keyLine, type Role } from '../query-gateway/access/api-key.ts'
import { Alarms } from './alarms.ts'
import { Closers } from './closers.ts'
import { parseConfig } from './config.ts'
import { openGatewayAccess } from './gateway-access.ts'
import { appendKey } from './key-file.ts'

const log = pino({ level: 'silent' })
const keyOf = (fill: number) => keyFrom(new Uint8Array(32).fill(fill))
const entry = (name: string, fill: number, role: Role = 'read') => ({
  name,
  role,
  digest: keyDigest(keyOf(fill)),
  requestsPerMinute: null,
})

let directory: string
let closers: Closers
let alarms: Alarms

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-keys-'))
  closers = new Closers()
  alarms = new Alarms(log, () => 0)
})

afterEach(async () => {
  await closers.close()
  rmSync(directory, { recursive: true })
})

const open = (flags: Record<string, string>) =>
  openGatewayAccess(parseConfig({ machine: { cores: 1 }, workingDir: directory, environment: {}, flags }).config, {
    log,
    alarms,
    closers,
  })

test('nobody is asked where there are no keys', async () => {
  expect(await open({})).toMatchObject({ access: { keys: null }, ownKey: null, allowedHosts: undefined })
  expect(await open({ allowUnauthenticated: 'true' })).toMatchObject({ access: { keys: null }, allowedHosts: null })
})

test('keys of the file, of the environment, and the process’s own', async () => {
  await appendKey(join(directory, 'keys.txt'), entry('file', 1))
  const flags = { 'access.keysFile': 'keys.txt', 'access.keys': keyLine(entry('line', 2, 'admin')) }
  const { access, ownKey } = await open(flags)
  expect(access.keys?.find(keyOf(1))).toMatchObject({ name: 'file', role: 'read' })
  expect(access.keys?.find(keyOf(2))).toMatchObject({ name: 'line', role: 'admin' })
  expect(access.keys?.find(ownKey!)).toMatchObject({ role: 'admin' })
})

test('a file that is missing or wrong ends the start', async () => {
  await expect(open({ 'access.keysFile': 'none.txt' })).rejects.toMatchObject({ code: 'config-invalid' })
  writeFileSync(join(directory, 'keys.txt'), `web read ${keyOf(1)}\n`)
  await expect(open({ 'access.keysFile': 'keys.txt' })).rejects.toThrow(/line 1 of .*keys.txt is not NAME/)
})

test('the file is read again when it changes; one that became wrong leaves the keys as they were, and raises an alarm', async () => {
  const path = join(directory, 'keys.txt')
  await appendKey(path, entry('old', 1))
  const { access, ownKey } = await open({ 'access.keysFile': path })
  const holderOf = (fill: number) => access.keys?.find(keyOf(fill))?.name
  await appendKey(path, entry('new', 2))
  await vi.waitFor(() => expect(holderOf(2)).toBe('new'), { timeout: 20_000 })
  expect(holderOf(1)).toBe('old')
  writeFileSync(path, keyLine(entry('new', 2)))
  await vi.waitFor(() => expect(holderOf(1)).toBeUndefined(), { timeout: 20_000 })
  writeFileSync(path, 'nonsense\n')
  await vi.waitFor(() => expect(alarms.list()).toMatchObject([{ code: 'config-invalid' }]), { timeout: 20_000 })
  expect(holderOf(2)).toBe('new')
  await appendKey(path, entry('later', 3))
  await vi.waitFor(() => expect(alarms.list()).toHaveLength(2), { timeout: 20_000 })
  rmSync(path)
  await vi.waitFor(() => expect(alarms.list()).toHaveLength(3), { timeout: 20_000 })
  expect([holderOf(2), access.keys?.find(ownKey!)?.role]).toEqual(['new', 'admin'])
})
