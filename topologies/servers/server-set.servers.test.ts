import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { freePorts, isPortFree } from './free-ports.ts'
import { ServerSet } from './server-set.ts'

test('one server that fails: it is named with what it printed, and the others are stopped', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-set-'))
  const [kafka, registry, redis] = (await freePorts(3)) as [number, number, number]
  const other = createServer().listen(redis, '127.0.0.1')
  await once(other, 'listening')
  const starting = ServerSet.start({ directory, ports: { kafka, registry, redis } })
  await expect(starting).rejects.toThrow(/^Redis exited with 1 before it was ready\. Its last lines:.*in use/is)
  expect(await Promise.all([kafka, registry].map(isPortFree))).toEqual([true, true])
  other.close()
  await rm(directory, { recursive: true })
})

test('programs that are not there are named', async () => {
  vi.stubEnv('PATH', '')
  const failure = await ServerSet.start().catch((error: Error) => error)
  vi.unstubAllEnvs()
  expect((failure as Error).message.split('\n')).toEqual([
    'Kafka cannot format its storage: the program java was not found.',
    'the schema registry cannot be started: the program java was not found.',
    'Redis cannot be started: the program redis-server was not found.',
  ])
})
