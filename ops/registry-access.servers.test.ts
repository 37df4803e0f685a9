import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { emptyRegistry } from '../topologies/confluent/testing/empty-registry.ts'
import { RegistryProxy, type RegistryProxyOptions } from '../topologies/confluent/testing/registry-proxy.ts'
import { type Certificate, createCertificate } from '../topologies/servers/certificate.ts'
import { freePorts } from '../topologies/servers/free-ports.ts'
import { runCli } from './testing/captured-cli.ts'

/** The registry's options as an operator sets them, with a registry that lets nobody else in. */
const token = 'hush-token'
let scratch: string
let certificate: Certificate

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'freshet-registry-'))
  certificate = await createCertificate()
  await writeFile(join(scratch, 'ca.pem'), certificate.certificate)
  await writeFile(join(scratch, 'key.pem'), certificate.privateKey)
})

afterAll(async () => {
  await emptyRegistry(inject('servers').registryUrl)
  await rm(scratch, { recursive: true, force: true })
})

/** What the deploy command says behind such a proxy. */
async function register(
  proxied: Omit<RegistryProxyOptions, 'target'>,
  environment: (url: string) => Readonly<Record<string, string>>,
) {
  const proxy = await RegistryProxy.start({ target: inject('servers').registryUrl, ...proxied })
  try {
    return await runCli(['schemas', 'register'], { environment: environment(proxy.url), workingDir: scratch })
  } finally {
    await proxy.stop()
  }
}

test('a token and a certificate of ours are shown', async () => {
  const guarded = { authorization: `Bearer ${token}`, certificate, isMutual: true }
  const all = (url: string) => ({
    FRESHET_REGISTRY_URL: url,
    FRESHET_REGISTRY_TOKEN: token,
    FRESHET_REGISTRY_TLS_CA: 'ca.pem',
    FRESHET_REGISTRY_TLS_CERT: 'ca.pem',
    FRESHET_REGISTRY_TLS_KEY: 'key.pem',
  })
  expect(await register(guarded, all)).toMatchObject({ exitCode: 0 })
  const without = await register(guarded, url => ({ ...all(url), FRESHET_REGISTRY_TOKEN: 'hush-wrong' }))
  expect(without).toMatchObject({ exitCode: 1 })
  expect(JSON.stringify(without)).not.toContain('hush')
})

test('another address is asked where the first does not answer', async () => {
  const [closed] = await freePorts(1)
  const outcome = await register({}, url => ({
    FRESHET_REGISTRY_URL: `http://127.0.0.1:${closed}`,
    FRESHET_REGISTRY_OTHER_URLS: url,
  }))
  expect(outcome).toMatchObject({ exitCode: 0 })
})
