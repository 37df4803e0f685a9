import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { checkImports, readSources } from './import-rules.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const rulesBroken = (files: Readonly<Record<string, string>>): readonly string[] =>
  checkImports(Object.entries(files).map(([path, text]) => ({ path, text }))).map(
    ({ path, specifier, rule }) => `${path} ${specifier}: ${rule}`,
  )

test('every import of the repository keeps the rules', () => {
  const sources = readSources(root)
  expect(sources.length).toBeGreaterThan(20)
  expect(checkImports(sources)).toEqual([])
})

describe('direction', () => {
  test.each([
    ['schemas/a.ts', '../topologies/event-log.ts', 'schemas may not import topologies'],
    ['topologies/a.ts', '../workers/b.ts', 'topologies may not import workers'],
    ['topologies/embedded/a.ts', '../../ops/config.ts', 'topologies may not import ops'],
    ['workers/a.ts', '../shard-node/b.ts', 'workers may not import shard-node'],
    ['shard-node/deep/a.ts', '../../query-gateway/b.ts', 'shard-node may not import query-gateway'],
    ['query-gateway/a.ts', '../workers/b.ts', 'query-gateway may not import workers'],
    ['query-gateway/a.test.ts', '../workers/b.ts', 'query-gateway may not import workers'],
    ['workers/a.ts', '../topologies/embedded/log.ts', 'workers may import the ports of topologies only'],
    ['topologies/kafka/a.ts', '../servers/kafka-broker.ts', 'servers are for tests and ops'],
    [
      'topologies/kafka/a.ts',
      '../redis/redis-connection.ts',
      'topologies may import the adapters in their own folder and in tests only',
    ],
    ['query-gateway/a.ts', '../topologies/dispatch/runner.ts', 'query-gateway may import the ports of topologies only'],
    [
      'topologies/dispatch/runner.ts',
      '../embedded/log.ts',
      'topologies may import the adapters in their own folder and in tests only',
    ],
  ])('%s may not import %s', (path, specifier, rule) => {
    expect(rulesBroken({ [path]: `import { x } from '${specifier}'` })).toEqual([`${path} ${specifier}: ${rule}`])
  })

  test.each([
    ['topologies/embedded/a.ts', '../../schemas/ids.ts'],
    ['topologies/embedded/a.ts', '../event-log.ts'],
    ['workers/a.ts', '../topologies/event-log.ts'],
    ['workers/a.test.ts', '../topologies/embedded/log.ts'],
    ['topologies/dispatch/runner.test.ts', '../embedded/log.ts'],
    ['topologies/embedded/a.ts', './b.ts'],
    ['topologies/bullmq/a.ts', '../redis/redis-connection.ts'],
    ['topologies/kafka/a.servers.test.ts', '../servers/kafka-broker.ts'],
    ['ops/stack.ts', '../topologies/servers/kafka-broker.ts'],
    ['ops/serve.ts', '../topologies/embedded/log.ts'],
    ['ops/serve.ts', '../query-gateway/server.ts'],
  ])('%s may import %s', (path, specifier) => {
    expect(rulesBroken({ [path]: `import type { X } from '${specifier}'` })).toEqual([])
  })
})

describe('every way of importing is seen', () => {
  test.each([
    "import '../workers/b.ts'",
    "import type { B } from '../workers/b.ts'",
    "import {\n  type B,\n  c,\n} from '../workers/b.ts'",
    'import * as b from "../workers/b.ts"',
    "const b = await import('../workers/b.ts')",
    "const b = require('../workers/b.ts')",
  ])('%s', text => {
    expect(rulesBroken({ 'schemas/a.ts': `const before = 1\n${text}\n` })).toEqual([
      'schemas/a.ts ../workers/b.ts: schemas may not import workers',
    ])
  })
})

describe('form', () => {
  test.each(['./b', './b.js', '../schemas'])('%s does not name a .ts file', specifier => {
    expect(rulesBroken({ 'schemas/a.ts': `import { b } from '${specifier}'` })).toEqual([
      `schemas/a.ts ${specifier}: a relative import names its file, with .ts`,
    ])
  })

  test.each(["export * from './b.ts'", "export { b } from './b.ts'", "export type { B } from './b.ts'"])(
    '%s is a barrel',
    text => {
      expect(rulesBroken({ 'schemas/a.ts': text })).toEqual([
        'schemas/a.ts ./b.ts: a barrel: import a thing from the file that declares it',
      ])
    },
  )

  test('an import after an export is no barrel', () => {
    expect(rulesBroken({ 'schemas/a.ts': "export interface A {\n  x: 1\n}\nimport { b } from './b.ts'\n" })).toEqual([])
  })

  test('exports of its own, with words like from in them, are not imports', () => {
    const text =
      "export const a = 'x'\nexport function from(): string {\n  return './b'\n}\nexport type T = 'from' | './c'\n"
    expect(rulesBroken({ 'schemas/a.ts': text })).toEqual([])
  })
})

describe('one place for each replaceable vendor', () => {
  const lmdb = "import { open } from 'lmdb'"

  test('two files of different folders are refused, both named', () => {
    const broken = rulesBroken({ 'topologies/embedded/log.ts': lmdb, 'shard-node/table.ts': lmdb })
    expect(broken).toHaveLength(2)
    expect(broken[0]).toContain('here by topologies/embedded/log.ts, shard-node/table.ts')
  })

  test('two files at the top of a folder of the six are refused', () => {
    expect(rulesBroken({ 'workers/a.ts': "import sharp from 'sharp'", 'workers/b.ts': "import 'sharp'" })).toHaveLength(
      2,
    )
  })

  test('the library of a connection is for the folders of its two ends', () => {
    const text = "import { WebSocket } from 'ws'"
    const ends = { 'query-gateway/remote/a.ts': text, 'shard-node/http/b.ts': text, 'shard-node/c.test.ts': text }
    expect(rulesBroken(ends)).toEqual([])
    expect(rulesBroken({ ...ends, 'query-gateway/d.ts': text })).toEqual([
      'query-gateway/d.ts ws: only query-gateway/remote and shard-node/http may import it',
    ])
  })

  test('a path inside the package and a scope count', () => {
    const deep = "import { x } from 'lmdb/index.js'"
    expect(rulesBroken({ 'topologies/a.ts': lmdb, 'shard-node/b.ts': deep })).toHaveLength(2)
    const telemetry = {
      'ops/a.ts': "import '@opentelemetry/sdk-node'",
      'ops/b.ts': "import '@opentelemetry/sdk-metrics'",
    }
    expect(rulesBroken(telemetry)).toHaveLength(2)
  })

  test('the API of OpenTelemetry may be called anywhere', () => {
    const api = "import { trace } from '@opentelemetry/api'"
    expect(rulesBroken({ 'workers/a.ts': api, 'query-gateway/b.ts': api })).toEqual([])
  })

  test('one file, one folder of its own, tests and benches are allowed', () => {
    const usearch = "import 'usearch'"
    expect(
      rulesBroken({
        'shard-node/graph.ts': usearch,
        'shard-node/graph.test.ts': usearch,
        'ops/bench/shard/bare-usearch.ts': usearch,
      }),
    ).toEqual([])
    expect(rulesBroken({ 'shard-node/graph.ts': usearch, 'ops/serve.ts': usearch })).toHaveLength(2)
    expect(rulesBroken({ 'topologies/embedded/a.ts': lmdb, 'topologies/embedded/b.ts': lmdb })).toEqual([])
    expect(rulesBroken({ 'workers/a.ts': "import 'sharp-edges'", 'ops/b.ts': "import 'sharp'" })).toEqual([])
  })
})
