import { globSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'

/** A source file by its path from the repository root, with forward slashes. */
export interface SourceFile {
  readonly path: string
  readonly text: string
}

export interface Violation {
  readonly path: string
  readonly specifier: string
  readonly rule: string
}

export const folders = ['schemas', 'topologies', 'workers', 'shard-node', 'query-gateway', 'ops'] as const
type Folder = (typeof folders)[number]

/** What a file of a folder may import besides its own folder. Of `topologies` only the ports, `ops` and tests excepted. */
const mayImport: Readonly<Record<Folder, readonly Folder[]>> = {
  schemas: [],
  topologies: ['schemas'],
  workers: ['schemas', 'topologies'],
  'shard-node': ['schemas', 'topologies'],
  'query-gateway': ['schemas', 'topologies'],
  ops: ['schemas', 'topologies', 'workers', 'shard-node', 'query-gateway'],
}

/** What other folders than `ops` may import of `topologies`. */
const ports: ReadonlySet<string> = new Set(
  ['event-log', 'feature-store', 'key-value-store', 'schema-registry', 'work-queue'].map(
    name => `topologies/${name}.ts`,
  ),
)
/** Folders with adapters of the ports. Steps and runners see the ports only, adapters each their own folder. */
const adapters: ReadonlySet<string> = new Set(
  ['embedded', 'kafka', 'bullmq', 'redis', 'confluent'].map(name => `topologies/${name}`),
)
const isAdapter = (path: string): boolean => adapters.has(posix.dirname(path))
/** BullMQ works on a connection of the Redis client, which one file makes. */
const isRedisConnection = (path: string, target: string): boolean =>
  posix.dirname(path) === 'topologies/bullmq' && target === 'topologies/redis/redis-connection.ts'
/** Real servers, for tests and for `ops`. */
const isServer = (path: string): boolean => path.startsWith('topologies/servers/')

/**
 * Each may be imported by one file outside tests, or by files of one folder. A trailing slash covers a whole scope.
 * Of OpenTelemetry the API is no vendor: it is made to be called where the work is done, and does nothing by itself.
 */
const replaceableVendors = [
  'kafkajs',
  'bullmq',
  'ioredis',
  'lmdb',
  'usearch',
  'onnxruntime-node',
  'sharp',
  'avsc',
  '@confluentinc/schemaregistry',
  '@opentelemetry/',
]

/** What both ends of a connection speak: one folder of each. */
const pairedVendors: Readonly<Record<string, readonly string[]>> = { ws: ['query-gateway/remote', 'shard-node/http'] }

/** Every `.ts` file of the six folders, but for packages that a bench has installed. */
export function readSources(root: string): readonly SourceFile[] {
  const options = { cwd: root, exclude: (path: string) => path.endsWith('node_modules') }
  return globSync(`{${folders.join(',')}}/**/*.ts`, options).map(path => ({
    path: path.replaceAll('\\', '/'),
    text: readFileSync(join(root, path), 'utf8'),
  }))
}

/** Every import that breaks the direction table, the one-place rule or the form of import paths. */
export function checkImports(files: readonly SourceFile[]): readonly Violation[] {
  return [...files.flatMap(checkFile), ...checkVendors(files), ...checkPairedVendors(files)]
}

interface Import {
  readonly specifier: string
  readonly exported: boolean
}

const imported = /^\s*import\s+(?:[\w$*{][^'"`;=()]*?\bfrom\s*)?(['"])([^'"]+)\1/gm
const exported = /^\s*export\s+(?:type\s+)?(?:\*[^'"`;=()]*?|\{[^}]*\}\s*)\bfrom\s*(['"])([^'"]+)\1/gm
const dynamic = /\b(?:import|require|require\.resolve|import\.meta\.resolve)\(\s*(['"])([^'"]+)\1/g

function importsOf({ text }: SourceFile): readonly Import[] {
  const found = (pattern: RegExp, isExport: boolean): readonly Import[] =>
    [...text.matchAll(pattern)].map(match => ({ specifier: match[2]!, exported: isExport }))
  return [...found(imported, false), ...found(exported, true), ...found(dynamic, false)]
}

/** Benches are held against the bare library, so they import it too. */
const isTest = (path: string): boolean =>
  /\.test\.ts$/.test(path) || /(^|\/)(testing|contracts)\//.test(path) || path.startsWith('ops/bench/')

const folderOf = (path: string): string => path.slice(0, path.indexOf('/'))

function checkFile(file: SourceFile): Violation[] {
  return importsOf(file).flatMap(each => {
    const rule = each.specifier.startsWith('.') ? brokenRelative(file, each) : null
    return rule === null ? [] : [{ path: file.path, specifier: each.specifier, rule }]
  })
}

function brokenRelative({ path }: SourceFile, { specifier, exported }: Import): string | null {
  if (exported) return 'a barrel: import a thing from the file that declares it'
  const target = posix.join(dirname(path), specifier)
  if (!namesFile(target)) return 'a relative import names its file, with .ts'
  const [from, to] = [folderOf(path), folderOf(target)]
  if (from === 'topologies' && !isTest(path)) {
    const isSameFolder = posix.dirname(path) === posix.dirname(target)
    if (isAdapter(target) && !isSameFolder && !isRedisConnection(path, target))
      return 'topologies may import the adapters in their own folder and in tests only'
    if (isServer(target) && !isServer(path)) return 'servers are for tests and ops'
  }
  if (from === to) return null
  const allowed = (mayImport as Readonly<Record<string, readonly string[]>>)[from] ?? []
  if (!allowed.includes(to)) return `${from} may not import ${to === '' ? target : to}`
  if (to === 'topologies' && from !== 'ops' && !isTest(path) && !ports.has(target))
    return `${from} may import the ports of topologies only`
  return null
}

/** The browser's modules are JavaScript; so is what runs before a Node that knows TypeScript is there. */
function namesFile(target: string): boolean {
  return /\.(ts|mjs|json)$/.test(target) || /^query-gateway\/page\/.*\.js$/.test(target)
}

function checkVendors(files: readonly SourceFile[]): readonly Violation[] {
  return replaceableVendors.flatMap(vendor => {
    const users = files.filter(file => !isTest(file.path) && importsOf(file).some(each => isOf(vendor, each.specifier)))
    const places = new Set(users.map(({ path }) => dirname(path)))
    const isOnePlace =
      users.length <= 1 || (places.size === 1 && !(folders as readonly string[]).includes([...places][0]!))
    return isOnePlace
      ? []
      : users.map(({ path }) => ({
          path,
          specifier: vendor,
          rule: `a replaceable vendor is imported by one file or one folder; here by ${users.map(user => user.path).join(', ')}`,
        }))
  })
}

function checkPairedVendors(files: readonly SourceFile[]): readonly Violation[] {
  return Object.entries(pairedVendors).flatMap(([vendor, places]) =>
    files
      .filter(file => !isTest(file.path) && !places.includes(dirname(file.path)))
      .filter(file => importsOf(file).some(each => isOf(vendor, each.specifier)))
      .map(({ path }) => ({ path, specifier: vendor, rule: `only ${places.join(' and ')} may import it` })),
  )
}

function isOf(vendor: string, specifier: string): boolean {
  if (specifier === '@opentelemetry/api') return false
  return vendor.endsWith('/')
    ? specifier.startsWith(vendor)
    : specifier === vendor || specifier.startsWith(`${vendor}/`)
}
