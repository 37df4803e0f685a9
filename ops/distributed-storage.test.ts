import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { freePort } from '../topologies/servers/free-ports.ts'
import { Closers } from './closers.ts'
import { parseConfig } from './config.ts'
import { openDistributedLog, openDistributedWork } from './distributed-storage.ts'

let closers = new Closers()
const lines: { readonly msg: string; readonly server?: string }[] = []
const log = pino({ level: 'warn' }, { write: line => lines.push(JSON.parse(line)) })

afterEach(async () => {
  await closers.close()
  closers = new Closers()
  lines.length = 0
})

/** Nothing listens where registry and Redis are said to be. */
async function configWaiting(waitForServersMs: string) {
  const port = await freePort()
  const flags = {
    waitForServersMs,
    'registry.url': `http://127.0.0.1:${port}`,
    'redis.url': `redis://127.0.0.1:${port}`,
  }
  return parseConfig({ machine: { cores: 2 }, workingDir: '/', environment: {}, flags }).config
}

const opening = (signal: AbortSignal) => ({ clientId: 'test', log, signal, closers })

test('servers that are away are waited for as long as the configuration says, and it is told', async () => {
  const config = await configWaiting('600ms')
  const { signal } = new AbortController()
  await expect(openDistributedWork(config, opening(signal))).rejects.toMatchObject({ code: 'queue-unavailable' })
  await expect(openDistributedLog(config, opening(signal))).rejects.toMatchObject({ code: 'registry-unavailable' })
  expect(lines.map(({ msg, server }) => [msg, server])).toEqual([
    ['waiting for a server', 'Redis'],
    ['waiting for a server', 'schema registry'],
  ])
})

test('a process that is told to end does not wait on', async () => {
  const ending = new AbortController()
  const opened = openDistributedWork(await configWaiting('1h'), opening(ending.signal))
  ending.abort()
  await expect(opened).rejects.toMatchObject({ code: 'not-ready' })
})

test('a PEM file that is none is named', async () => {
  const path = import.meta.filename
  const flags = { 'redis.url': 'rediss://127.0.0.1:1', 'redis.tlsCa': path }
  const { config } = parseConfig({ machine: { cores: 2 }, workingDir: '/', environment: {}, flags })
  const { signal } = new AbortController()
  await expect(openDistributedWork(config, opening(signal))).rejects.toMatchObject({
    code: 'config-invalid',
    message: expect.stringContaining(path),
  })
})
