import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import { subjects } from '../../schemas/topics.ts'
import { schemaRegistryContract } from '../contracts/schema-registry-contract.ts'
import { freePort } from '../servers/free-ports.ts'
import { SchemaRegistryServer } from '../servers/schema-registry-server.ts'
import { ConfluentSchemaRegistry } from './confluent-schema-registry.ts'
import { emptyRegistry } from './testing/empty-registry.ts'

const shared = inject('servers').registryUrl
const timeoutMs = 10_000

schemaRegistryContract('ConfluentSchemaRegistry', async () => {
  await emptyRegistry(shared)
  const registry = new ConfluentSchemaRegistry({ urls: [shared], timeoutMs })
  return {
    registry,
    cleanup: async () => {
      await registry.close()
      await emptyRegistry(shared)
    },
  }
})

describe('what the registry holds besides', () => {
  let registry: ConfluentSchemaRegistry

  beforeEach(async () => {
    await emptyRegistry(shared)
    registry = new ConfluentSchemaRegistry({ urls: [shared], timeoutMs })
  })
  afterEach(async () => {
    await registry.close()
    await emptyRegistry(shared)
  })

  test('a subject is FULL_TRANSITIVE from its first version on, also for those who ask the registry alone', async () => {
    await registry.register(subjects.catalog, record())
    expect(await compatibilityOf(subjects.catalog)).toBe('FULL_TRANSITIVE')
    const { status } = await post(`/subjects/${subjects.catalog}/versions`, { schema: unrelated })
    expect(status).toBe(409)
  })

  test('a rule that someone loosened is set again', async () => {
    const registered = await registry.register(subjects.catalog, record())
    await setCompatibility(subjects.catalog, 'NONE')
    expect(await registry.register(subjects.catalog, record())).toEqual(registered)
    expect(await compatibilityOf(subjects.catalog)).toBe('FULL_TRANSITIVE')
  })

  test('reasons are given even where the registry itself would take the schema', async () => {
    await registry.register(subjects.catalog, record())
    await setCompatibility(subjects.catalog, 'NONE')
    await expect(registry.register(subjects.catalog, unrelated)).rejects.toMatchObject({
      code: 'schema-incompatible',
      details: expect.arrayContaining([expect.stringContaining('weight')]),
    })
  })

  test('two who register at once, each with its own connection, get one version', async () => {
    const other = new ConfluentSchemaRegistry({ urls: [shared], timeoutMs })
    const both = await Promise.all([registry, other].map(each => each.register(subjects.control, record())))
    await other.close()
    expect(both[0]).toEqual(both[1])
    expect(await registry.versions(subjects.control)).toHaveLength(1)
  })
})

describe('a registry that goes away and comes back', () => {
  let directory: string
  let server: SchemaRegistryServer
  let registry: ConfluentSchemaRegistry

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'freshet-registry-'))
  })
  afterAll(async () => {
    await registry?.close()
    await server?.stop()
    await rm(directory, { recursive: true })
  })

  test('away at the start: every call says so, and works once it is there', async () => {
    const port = await freePort()
    registry = new ConfluentSchemaRegistry({ urls: [`http://127.0.0.1:${port}/apis/ccompat/v7`], timeoutMs })
    await expect(openCodecs(registry)).rejects.toMatchObject(unavailable)
    await expect(registry.byId(1)).rejects.toMatchObject(unavailable)
    await expect(registry.register(subjects.catalog, record())).rejects.toMatchObject(unavailable)
    server = await SchemaRegistryServer.start({ directory, port })
    await registerSchemas(registry)
    await openCodecs(registry)
  })

  test('killed in mid-flight: known ids go on, the others are asked for again when it is back', async () => {
    const [catalog] = await registry.versions(subjects.catalog)
    const [control] = await registry.versions(subjects.control)
    const known = await registry.byId(catalog!.id)
    await server.kill()
    expect(await registry.byId(catalog!.id)).toBe(known)
    await expect(registry.byId(control!.id)).rejects.toMatchObject(unavailable)
    await expect(registry.versions(subjects.catalog)).rejects.toMatchObject(unavailable)
    await expect(registry.check(subjects.catalog, record())).rejects.toMatchObject(unavailable)
    await server.startAgain()
    expect(await registry.byId(control!.id)).toMatchObject({ id: control!.id, schema: control!.schema })
    expect(await registry.versions(subjects.catalog)).toEqual([catalog])
  })

  test('one of two addresses away: the other answers, and what it does not know is unknown', async () => {
    const away = `http://127.0.0.1:${await freePort()}`
    for (const urls of [
      [away, server.url],
      [server.url, away],
    ]) {
      const both = new ConfluentSchemaRegistry({ urls, timeoutMs })
      expect(await both.versions(subjects.catalog)).toHaveLength(1)
      await expect(both.byId(4_711)).rejects.toMatchObject({ code: 'schema-unknown' })
      await both.close()
    }
  })
})

describe('something that is no registry', () => {
  let server: Server

  afterEach(async () => {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })

  async function expectUnavailable(listener: RequestListener): Promise<void> {
    server = createServer(listener)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const registry = new ConfluentSchemaRegistry({ urls: [url], timeoutMs: 200 })
    await expect(registry.versions(subjects.catalog)).rejects.toMatchObject(unavailable)
    await expect(registry.byId(1)).rejects.toMatchObject(unavailable)
    await registry.close()
  }

  test('a server that takes the request and never answers', async () => {
    await expectUnavailable(() => {})
  })

  test.each([404, 429, 503])('a web server that answers %d', async status => {
    await expectUnavailable((_, response) => response.writeHead(status).end('<html>'))
  })
})

const unavailable = { code: 'registry-unavailable', retryable: true }

const record = (): string =>
  JSON.stringify({ type: 'record', name: 'freshet.Thing', fields: [{ name: 'name', type: 'string' }] })
const unrelated = JSON.stringify({
  type: 'record',
  name: 'freshet.Thing',
  fields: [{ name: 'weight', type: 'double' }],
})

async function compatibilityOf(subject: string): Promise<string> {
  const answer = await fetch(`${shared}/config/${subject}`)
  return ((await answer.json()) as { readonly compatibilityLevel: string }).compatibilityLevel
}

async function setCompatibility(subject: string, compatibility: string): Promise<void> {
  const { ok } = await post(`/config/${subject}`, { compatibility }, 'PUT')
  if (!ok) throw new Error('the registry did not take the rule')
}

function post(path: string, body: object, method = 'POST'): Promise<Response> {
  const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' }
  return fetch(`${shared}${path}`, { method, headers, body: JSON.stringify(body) })
}
