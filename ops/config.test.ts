import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type ConfigSources, loadConfig, parseConfig } from './config.ts'
import { checkInternalHost, checkPublicHost } from './config-rules.ts'

const sources: ConfigSources = { machine: { cores: 2 }, workingDir: '/srv', environment: {}, flags: {} }
const file = (value: unknown) => ({ path: '/etc/freshet/freshet.config.json', text: JSON.stringify(value) })
const refusal = (given: Partial<ConfigSources>): string => {
  try {
    parseConfig({ ...sources, ...given })
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: 'config-invalid' })
    return (thrown as Error).message
  }
  throw new Error('the configuration was accepted')
}

describe('where values come from', () => {
  test('flags beat the environment, which beats the file, which beats the default', () => {
    const { config, entries } = parseConfig({
      ...sources,
      file: file({ port: 1, shards: 2, limits: { maxK: 100 } }),
      environment: { FRESHET_PORT: '2', FRESHET_SHARDS: '3', HOME: '/root' },
      flags: { port: '3' },
    })
    expect(config).toMatchObject({ port: 3, shards: 3, partitions: 8, limits: { maxK: 100, pixels: 50_000_000 } })
    const origins = Object.fromEntries(entries.map(({ key, origin }) => [key, origin]))
    expect(origins).toMatchObject({ port: 'flag', shards: 'environment', 'limits.maxK': 'file', partitions: 'default' })
  })

  test('paths are relative to the file that names them, else to the working directory', () => {
    const fromFile = parseConfig({ ...sources, file: file({ dataDir: 'here', imageRoots: ['a', '/b'] }) }).config
    expect(fromFile).toMatchObject({ dataDir: '/etc/freshet/here', imageRoots: ['/etc/freshet/a', '/b'] })
    expect(parseConfig({ ...sources, flags: { dataDir: 'here' } }).config.dataDir).toBe('/srv/here')
    expect(parseConfig(sources).config.dataDir).toBe('/srv/data')
  })

  test('the process count follows the cores up to 4', () => {
    const processesOn = (cores: number) => parseConfig({ ...sources, machine: { cores } }).config.processes
    expect([1, 2, 4, 64].map(processesOn)).toEqual([1, 2, 4, 4])
  })

  test('text carries units of bytes and time', () => {
    const flags = { 'limits.imageBytes': '2MiB', checkpointEveryMs: '90s', 'dispatch.tombstoneRetentionMs': '30d' }
    const { config } = parseConfig({ ...sources, flags })
    expect(config.limits.imageBytes).toBe(2_097_152)
    expect(config.checkpointEveryMs).toBe(90_000)
    expect(config.dispatch.tombstoneRetentionMs).toBe(30 * 86_400_000)
  })
})

describe('what is refused', () => {
  test.each([
    [{ file: file({ prot: 1 }) }, 'unknown key prot; did you mean port?'],
    [{ file: file({ limits: { maxKs: 1 } }) }, 'unknown key limits.maxKs; did you mean limits.maxK?'],
    [{ file: file({ imageBytes: 1 }) }, 'unknown key imageBytes; did you mean limits.imageBytes?'],
    [
      { environment: { FRESHET_DATADIR: '/x' } },
      'unknown environment variable FRESHET_DATADIR; did you mean FRESHET_DATA_DIR?',
    ],
    [{ flags: { quux: '1' } }, 'unknown flag quux'],
  ])('unknown names, with the likely one suggested: %j', (given, message) => {
    expect(refusal(given)).toBe(message)
  })

  test.each([
    [{ file: file({ port: 70_000 }) }, 'a whole number 0 to 65535'],
    [{ file: file({ port: 1.5 }) }, 'a whole number 0 to 65535'],
    [{ file: file({ imageRoots: [''] }) }, 'a list of paths'],
    [{ environment: { FRESHET_DEMO: 'yes' } }, 'FRESHET_DEMO is "yes", expected true or false'],
    [{ flags: { 'limits.imageBytes': '5 parsecs' } }, 'bytes, such as 20MiB'],
    [{ flags: { imagePorts: '80,http' } }, 'a list of ports'],
    [{ flags: { imagePorts: '0' } }, 'a list of ports'],
    [{ flags: { 'access.open': 'page,secrets' } }, 'a list of page, pictures, metrics, or nothing'],
    [{ flags: { logFormat: 'xml' } }, 'one of pretty, json'],
    [{ file: { path: '/f', text: '{"port": ' } }, '/f is not JSON'],
    [{ file: file([]) }, 'must hold one JSON object'],
  ])('values that do not fit: %j', (given, message) => {
    expect(refusal(given)).toContain(message)
  })

  test.each([
    [{ shards: '9' }, 'shards (9) is more than partitions (8)'],
    [{ 'limits.bodyBytes': '1MiB' }, 'no such upload fits'],
    [{ blobStoreMaxBytes: '1MiB' }, 'more than blobStoreMaxBytes'],
    [{ 'workers.supersedeForMs': '31s' }, 'more than workers.failAfterMs'],
    [{ 'dispatch.tombstoneRetentionMs': '30m' }, 'before log compaction begins'],
    [{ host: '0.0.0.0' }, 'set access.keysFile'],
    [{ host: '127.0.0.1.example.org' }, 'asks nobody who they are'],
    [{ 'access.corsOrigins': 'https://shop.example/' }, 'which is no origin'],
    [{ 'access.corsOrigins': 'shop.example' }, 'which is no origin'],
    [{ 'access.corsOrigins': '*' }, 'any web page could use this server'],
    [{ 'kafka.sasl': 'plain', 'kafka.username': 'u' }, 'which needs kafka.username and kafka.password'],
    [{ 'kafka.password': 'p' }, 'kafka.sasl is none'],
    [{ 'kafka.tlsCa': 'ca.pem' }, 'kafka.tls is false'],
    [{ 'kafka.tls': 'true', 'kafka.tlsCert': 'c.pem' }, 'kafka.tlsCert and kafka.tlsKey go together'],
    [{ 'kafka.brokers': 'broker-1' }, 'a list of host:port'],
    [{ 'registry.username': 'u' }, 'registry.username and registry.password go together'],
    [{ 'registry.tlsCa': 'ca.pem' }, 'does not begin with https:'],
    [{ 'registry.url': 'http://u:p@127.0.0.1:8081' }, 'set registry.username and registry.password instead'],
    [{ 'registry.otherUrls': 'http://a,http://u:p@b' }, 'set registry.username and registry.password instead'],
    [{ 'registry.otherUrls': 'http://a,ftp://b' }, 'a list of addresses'],
    [{ 'registry.username': 'u', 'registry.password': 'p', 'registry.token': 't' }, 'take one away'],
    [{ 'registry.url': 'https://a', 'registry.tlsKey': 'k' }, 'registry.tlsCert and registry.tlsKey go together'],
    [{ 'registry.url': 'https://a', 'registry.otherUrls': 'http://b', 'registry.tlsCa': 'c' }, 'does not begin with'],
    [{ 'redis.tlsCa': 'ca.pem' }, 'does not begin with rediss:'],
    [{ 'redis.url': 'rediss://r', 'redis.tlsKey': 'k.pem' }, 'redis.tlsCert and redis.tlsKey go together'],
  ])('values that do not fit together: %j', (flags, message) => {
    expect(refusal({ flags })).toContain(message)
  })

  test('an open address is served only when that is said', () => {
    const open = { host: '0.0.0.0', allowUnauthenticated: 'true' }
    expect(parseConfig({ ...sources, flags: open }).config.host).toBe('0.0.0.0')
  })
})

describe('what is nobody’s business', () => {
  const flags = {
    'kafka.sasl': 'plain',
    'kafka.username': 'user',
    'kafka.password': 'hush-kafka',
    'registry.username': 'user',
    'registry.password': 'hush-registry',
    'redis.url': 'redis://user:hush-redis@127.0.0.1:6379/1',
    'redis.password': 'hush-too',
    internalSecret: 'hush-all',
    'access.keys': 'hush read sha256:00',
  }

  test('secrets are taken and not shown', () => {
    const { config, entries } = parseConfig({ ...sources, flags })
    expect(config.kafka.password).toBe('hush-kafka')
    expect(config.redis.url).toBe('redis://user:hush-redis@127.0.0.1:6379/1')
    expect(JSON.stringify(entries)).not.toContain('hush')
    const shown = new Map(entries.map(({ key, value, valueText }) => [key, [value, valueText]]))
    expect(shown.get('kafka.password')).toEqual(['(set)', '(set)'])
    expect(shown.get('redis.url')).toEqual(Array(2).fill('redis://user:***@127.0.0.1:6379/1'))
    expect(shown.get('kafka.tlsCa')).toEqual([null, ''])
  })

  test('a secret that is refused is not repeated', () => {
    expect(refusal({ file: file({ internalSecret: ['hush'] }) })).not.toContain('hush')
    expect(refusal({ flags: { 'redis.url': 'http://user:hush@127.0.0.1' } })).not.toContain('hush')
  })
})

test('what may be left out is nothing by default, and paths to PEM files are made absolute', () => {
  const { config } = parseConfig({ ...sources, flags: { 'kafka.tls': 'true', 'kafka.tlsCa': 'ca.pem' } })
  expect(config.kafka).toMatchObject({ tlsCa: '/srv/ca.pem', tlsCert: null, username: null })
  expect(parseConfig({ ...sources, environment: { FRESHET_INTERNAL_SECRET: '' } }).config.internalSecret).toBe(null)
})

test('an open address is for shards with a secret, but the public API asks for more', () => {
  const { config } = parseConfig({ ...sources, flags: { host: '0.0.0.0', internalSecret: 's' } })
  expect(() => checkPublicHost(config)).toThrow(/set access.keysFile/)
})

test('an open address is for an API that asks for keys, but shards and dispatchers then still need their secret', () => {
  const { config } = parseConfig({ ...sources, flags: { host: '0.0.0.0', 'access.keysFile': 'keys.txt' } })
  expect(config.access).toMatchObject({ keysFile: '/srv/keys.txt', open: ['page', 'pictures'] })
  expect(() => checkPublicHost(config)).not.toThrow()
  expect(() => checkInternalHost(config)).toThrow(/set internalSecret/)
  expect(() => checkPublicHost({ ...config, allowUnauthenticated: true })).toThrow(/decide for one/)
})

test('what needs no key may be nothing', () => {
  expect(parseConfig({ ...sources, environment: { FRESHET_ACCESS_OPEN: 'nothing' } }).config.access.open).toEqual([])
  expect(parseConfig({ ...sources, file: file({ access: { open: ['metrics'] } }) }).config.access.open).toEqual([
    'metrics',
  ])
})

describe('the configuration file', () => {
  test('is optional where nobody named it, and missed where somebody did', () => {
    const workingDir = mkdtempSync(join(tmpdir(), 'freshet-config-'))
    try {
      expect(loadConfig({ ...sources, workingDir }).config.port).toBe(7480)
      expect(() => loadConfig({ ...sources, workingDir, path: 'mine.json' })).toThrow(/there is no configuration file/)
      writeFileSync(join(workingDir, 'mine.json'), '{ "port": 81 }')
      expect(loadConfig({ ...sources, workingDir, path: 'mine.json' }).config.port).toBe(81)
      writeFileSync(join(workingDir, 'freshet.config.json'), '{ "port": 82 }')
      expect(loadConfig({ ...sources, workingDir }).config.port).toBe(82)
      const environment = { FRESHET_CONFIG: join(workingDir, 'mine.json') }
      expect(loadConfig({ ...sources, workingDir, environment }).config.port).toBe(81)
    } finally {
      rmSync(workingDir, { recursive: true })
    }
  })
})

test('every option has a description that ends, and a variable of its own', () => {
  const { entries } = parseConfig(sources)
  for (const { key, description } of entries) expect(description, key).toMatch(/^[A-Z].*\.$/)
  expect(new Set(entries.map(({ environmentName }) => environmentName)).size).toBe(entries.length)
})
