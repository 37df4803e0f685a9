import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { subjects } from '../../schemas/topics.ts'
import { type Certificate, createCertificate } from '../servers/certificate.ts'
import { type ConfluentRegistryOptions, ConfluentSchemaRegistry } from './confluent-schema-registry.ts'
import { emptyRegistry } from './testing/empty-registry.ts'
import { RegistryProxy, type RegistryProxyOptions } from './testing/registry-proxy.ts'

const target = inject('servers').registryUrl
const schema = JSON.stringify({ type: 'record', name: 'freshet.Thing', fields: [] })
const denied = { code: 'access-denied', retryable: false }

let certificate: Certificate
let stranger: Certificate

beforeAll(async () => {
  ;[certificate, stranger] = [await createCertificate(), await createCertificate()]
  await emptyRegistry(target)
})
afterAll(() => emptyRegistry(target))

/** Registers a schema over a connection with these options. */
async function use(proxied: Omit<RegistryProxyOptions, 'target'>, options: Partial<ConfluentRegistryOptions>) {
  const proxy = await RegistryProxy.start({ target, ...proxied })
  const registry = new ConfluentSchemaRegistry({ urls: [proxy.url], timeoutMs: 10_000, ...options })
  try {
    return await registry.register(subjects.catalog, schema)
  } finally {
    await registry.close()
    await proxy.stop()
  }
}

const basic = `Basic ${Buffer.from('freshet:s:e/c r€t').toString('base64')}`

describe('credentials', () => {
  test('user and password', async () => {
    const credentials = { username: 'freshet', password: 's:e/c r€t' }
    expect(await use({ authorization: basic }, credentials)).toMatchObject({ version: 1 })
  })

  test('a token, rather than user and password', async () => {
    const credentials = { bearerToken: 'abc', username: 'freshet', password: 'other' }
    expect(await use({ authorization: 'Bearer abc' }, credentials)).toMatchObject({ version: 1 })
  })

  test('user and password in the address, which no message repeats', async () => {
    const proxy = await RegistryProxy.start({ target, authorization: `Basic ${btoa('freshet:s3cret')}` })
    for (const [password, outcome] of [
      ['s3cret', { version: 1 }],
      ['wr0ng', { ...denied, message: expect.not.stringContaining('wr0ng') }],
    ] as const) {
      const url = proxy.url.replace('//', `//freshet:${password}@`)
      const registry = new ConfluentSchemaRegistry({ urls: [url], timeoutMs: 10_000 })
      expect(await registry.register(subjects.catalog, schema).catch(error => error)).toMatchObject(outcome)
      await registry.close()
    }
    await proxy.stop()
  })

  test.each([{}, { username: 'freshet' }, { username: 'freshet', password: 'wrong' }, { bearerToken: 'abc' }])(
    '%j is refused for good',
    async credentials => {
      await expect(use({ authorization: basic }, credentials)).rejects.toMatchObject(denied)
    },
  )
})

describe('TLS', () => {
  test('with the authority that signed the server', async () => {
    const { certificate: ca } = certificate
    expect(await use({ certificate }, { tls: { ca } })).toMatchObject({ version: 1 })
  })

  test('a server that an unknown authority signed is not trusted', async () => {
    await expect(use({ certificate }, {})).rejects.toMatchObject(denied)
    await expect(use({ certificate }, { tls: { ca: stranger.certificate } })).rejects.toMatchObject(denied)
  })

  test('with a certificate of the client where the server asks for one', async () => {
    const { certificate: ca, privateKey: key } = certificate
    const own = { ca, cert: ca, key }
    expect(await use({ certificate, isMutual: true }, { tls: own })).toMatchObject({ version: 1 })
    await expect(use({ certificate, isMutual: true }, { tls: { ca } })).rejects.toMatchObject(denied)
  })

  test('and credentials inside it', async () => {
    const tls = { ca: certificate.certificate }
    const credentials = { username: 'freshet', password: 's:e/c r€t' }
    expect(await use({ certificate, authorization: basic }, { tls, ...credentials })).toMatchObject({ version: 1 })
    await expect(use({ certificate, authorization: basic }, { tls })).rejects.toMatchObject(denied)
  })
})
