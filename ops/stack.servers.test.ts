import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { freePorts } from '../topologies/servers/free-ports.ts'
import { isAlive } from '../topologies/servers/server-process.ts'
import { parseConfig } from './config.ts'

interface Stack {
  readonly process: ChildProcess
  readonly kafka: { readonly address: string; readonly pid: number }
  readonly registry: { readonly address: string; readonly pid: number }
  readonly redis: { readonly address: string; readonly pid: number }
}

let directory: string
let ports: readonly number[]
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-stack-'))
  ports = await freePorts(3)
})
afterEach(() => rm(directory, { recursive: true }))

function run(...more: readonly string[]): ChildProcess {
  const flags = ['--kafka-port', '--registry-port', '--redis-port'].flatMap((flag, i) => [flag, String(ports[i])])
  const args = [join(import.meta.dirname, 'stack.ts'), '--directory', directory, ...flags, ...more]
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
}

async function startStack(): Promise<Stack> {
  const child = run('--json')
  const [line] = await once(createInterface(child.stdout!), 'line')
  return { process: child, ...JSON.parse(line as string) }
}

async function endStack(stack: Stack): Promise<number | null> {
  const exited = once(stack.process, 'exit')
  stack.process.kill('SIGINT')
  const [code] = await exited
  return code as number | null
}

const pidsOf = ({ kafka, registry, redis }: Stack): readonly number[] => [kafka.pid, registry.pid, redis.pid]

test('it keeps topics, schemas and keys between runs, and leaves no process behind; a server that dies ends all', async () => {
  const first = await startStack()
  await write(first)
  expect(await endStack(first)).toBe(0)
  expect(pidsOf(first).filter(isAlive)).toEqual([])
  const second = await startStack()
  expect(await read(second)).toEqual({ topics: ['kept'], subjects: ['kept-value'], key: 'kept' })
  const exited = once(second.process, 'exit')
  process.kill(second.redis.pid, 'SIGKILL')
  expect((await exited)[0]).toBe(1)
  expect(pidsOf(second).filter(isAlive)).toEqual([])
})

test('people read addresses, what the roles need to know, and the health; a kill -9 leaves no process behind either', async () => {
  const child = run()
  const printed = { stdout: '', stderr: '' }
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (printed.stdout += text))
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (printed.stderr += text))
  const health = '● Kafka   ● schema registry   ● Redis'
  await vi.waitUntil(() => printed.stderr.includes(health), { timeout: 120_000 })
  const variables = [...printed.stdout.matchAll(/(FRESHET_\w+)=(\S+)/g)].map(([, name, value]) => [name, value])
  const environment = Object.fromEntries(variables)
  const { config } = parseConfig({ machine: { cores: 2 }, workingDir: directory, environment, flags: {} })
  expect([config.kafka.brokers, config.registry.url, config.redis.url]).toEqual([
    [`127.0.0.1:${ports[0]}`],
    `http://127.0.0.1:${ports[1]}/apis/ccompat/v7`,
    `redis://127.0.0.1:${ports[2]}`,
  ])
  const pids = [...printed.stdout.matchAll(/^ {2}\S.* (\d+)$/gm)].map(match => Number(match[1]))
  expect(pids.filter(isAlive)).toHaveLength(3)
  child.kill('SIGKILL')
  await vi.waitUntil(() => !pids.some(isAlive), { timeout: 30_000 })
})

test('a port that is taken is named, with the option that chooses another', async () => {
  const other = createServer().listen(ports[1], '127.0.0.1')
  await once(other, 'listening')
  const child = run()
  const lines: string[] = []
  createInterface(child.stderr!).on('line', line => lines.push(line))
  const [code] = await once(child, 'close')
  other.close()
  expect(code).toBe(1)
  expect(lines).toEqual([
    `stack: cannot listen on 127.0.0.1, port ${ports[1]} for the schema registry: stop what listens there, or choose another with --registry-port.`,
  ])
})

async function write({ kafka, registry, redis }: Stack): Promise<void> {
  const admin = new Kafka({ brokers: [kafka.address], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'kept' }] })
  await admin.disconnect()
  const response = await fetch(`${registry.address}/subjects/kept-value/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema: '"string"' }),
  })
  expect(response.status).toBe(200)
  const connection = new Redis(redis.address)
  await connection.set('key', 'kept')
  connection.disconnect()
}

async function read({ kafka, registry, redis }: Stack) {
  const admin = new Kafka({ brokers: [kafka.address], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  const topics = await admin.listTopics()
  await admin.disconnect()
  const subjects = await (await fetch(`${registry.address}/subjects`)).json()
  const connection = new Redis(redis.address)
  const key = await connection.get('key')
  connection.disconnect()
  return { topics, subjects, key }
}
