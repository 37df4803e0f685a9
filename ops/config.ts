import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import { searchThreadsFor } from '../shard-node/segments/index-tuning.ts'
import { boolean, bytes, choice, count, durationMs, type Kind, path, pathList, text } from './config-kinds.ts'
import { closestTo } from './config-suggestion.ts'

/** What defaults may depend on, passed in so that parsing stays a function of its arguments. */
export interface Machine {
  readonly cores: number
}

interface Option<T> {
  readonly kind: Kind<T>
  readonly fallback: (machine: Machine) => T
  /** How the default is written where it depends on the machine. */
  readonly fallbackText?: string
  readonly description: string
}

const option = <T>(kind: Kind<T>, fallback: NoInfer<T>, description: string): Option<T> => ({
  kind,
  fallback: () => fallback,
  description,
})

const dayMs = 86_400_000
const mebibyte = 2 ** 20

/** Every option once: its type, default and description. `Config`, the listing and the README's table follow from it. */
const options = {
  dataDir: option(path, './data', 'Directory of everything the server keeps. Opened by one server at a time.'),
  host: option(text, '127.0.0.1', 'Address to listen on. Anything but loopback needs allowUnauthenticated.'),
  port: option(count(0, 65_535), 7480, 'Port to listen on; 0 takes a free one.'),
  allowUnauthenticated: option(
    boolean,
    false,
    'Serve on an address other machines can reach, although the API asks nobody who they are.',
  ),
  partitions: option(count(1, 1_024), 8, 'Partitions of the catalog topic. Fixed for the life of a data directory.'),
  shards: option(count(1, 64), 1, 'Shards of a new generation; partitions are spread over them.'),
  model: option(text, 'v1', 'Model set that the first generation is built with.'),
  stubModel: option(boolean, false, 'Replace the models by vectors derived from image digests. For benches and tests.'),
  processes: {
    kind: count(1, 64),
    fallback: ({ cores }) => Math.max(1, Math.min(cores, 4)),
    fallbackText: 'cores, at most 4',
    description: 'Child processes that decode pictures and run the models.',
  } satisfies Option<number>,
  imageRoots: option(pathList, [], 'Directories that file: image references may point into.'),
  allowPrivateHosts: option(boolean, false, 'Fetch images from private and loopback addresses too.'),
  blobStoreMaxBytes: option(bytes(mebibyte), 20 * 1_024 * mebibyte, 'Bound of the store of original pictures.'),
  limits: {
    imageBytes: option(bytes(1_024), 20 * mebibyte, 'Largest image file.'),
    pixels: option(count(4_096, 268_402_689), 50_000_000, 'Most pixels of an image, checked before it is decoded.'),
    bodyBytes: option(bytes(1_024), 32 * mebibyte, 'Largest request body; bulk streams are bounded per line.'),
    maxK: option(count(1, 200), 200, 'Most results of one search.'),
    deadlineMs: option(durationMs(10), 10_000, 'Longest time one search may take.'),
  },
  workers: {
    claim: option(count(1, 4_096), 64, 'Jobs held by the worker loop at once.'),
    failAfterMs: option(
      durationMs(100),
      30_000,
      'A job still failing after this is reported, and retried behind others.',
    ),
    supersedeForMs: option(
      durationMs(0),
      2_000,
      'An item without any picture for this long is embedded even if a newer picture is known.',
    ),
    maxAttempts: option(count(1, 100), 8, 'Attempts of a job before it goes to the dead letters.'),
  },
  dispatch: {
    windowRecords: option(count(16), 20_000, 'Most events in flight between catalog and mutation log.'),
    windowBytes: option(bytes(mebibyte), 64 * mebibyte, 'Most bytes of events in flight.'),
    overdueMs: option(durationMs(100), 60_000, 'Image work not heard of for this long is enqueued again.'),
    tombstoneRetentionMs: option(durationMs(1_000), 7 * dayMs, 'How long removals are kept after they are applied.'),
  },
  log: {
    compactionLagMs: option(durationMs(0), 3_600_000, 'A record younger than this survives log compaction.'),
  },
  index: {
    searchThreads: {
      kind: count(1, 64),
      fallback: ({ cores }) => searchThreadsFor(cores),
      fallbackText: 'cores - 1, at most 4',
      description: 'Threads of each shard that search.',
    } satisfies Option<number>,
    seeds: option(
      pathList,
      [],
      'Directories written by the snapshot command: a shard without a usable checkpoint starts from the first that has it.',
    ),
    segments: option(
      choice('standard', 'compressed'),
      'standard',
      'In compressed ones vectors stay on disk, only codes in memory: for catalogues beyond memory.',
    ),
  },
  checkpointEveryMs: option(durationMs(100), 30_000, 'Time between checkpoints of a shard.'),
  demo: option(boolean, false, 'Publish the bundled furniture catalogue on start.'),
  logLevel: option(choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'), 'info', 'Least level logged.'),
  logFormat: option(choice('pretty', 'json'), 'pretty', 'Log lines for people or for collectors.'),
} as const

type ValueOf<Node> = Node extends Option<infer T> ? T : { readonly [K in keyof Node]: ValueOf<Node[K]> }
/** The effective configuration: every option present, paths absolute, cross-field rules hold. */
export type Config = ValueOf<typeof options>

export type ConfigOrigin = 'default' | 'file' | 'environment' | 'flag'

export interface ConfigSources {
  readonly machine: Machine
  /** Relative paths of environment and flags are relative to this. */
  readonly workingDir: string
  readonly file?: { readonly path: string; readonly text: string }
  /** Names beginning with `FRESHET_` are options; all others are ignored. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Values by dotted key, such as `limits.imageBytes`. */
  readonly flags: Readonly<Record<string, string>>
}

/** One option as an operator sees it. */
export interface ConfigEntry {
  readonly key: string
  readonly environmentName: string
  readonly value: unknown
  /** Value and default as a person would write them, such as `20MiB`. */
  readonly valueText: string
  readonly defaultText: string
  readonly origin: ConfigOrigin
  readonly expected: string
  readonly description: string
}

export interface EffectiveConfig {
  readonly config: Config
  readonly entries: readonly ConfigEntry[]
}

/** Read by the command line, not options of the server. */
const otherVariables: ReadonlySet<string> = new Set(['FRESHET_CONFIG', 'FRESHET_URL'])

/**
 * Defaults, then file, then environment, then flags. Unknown keys and values out of range are refused.
 * @throws FreshetError `config-invalid`
 */
export function parseConfig(sources: ConfigSources): EffectiveConfig {
  const given = new Map<string, Given>()
  if (sources.file) readFile(sources.file, given)
  readEnvironment(sources, given)
  for (const [key, value] of Object.entries(sources.flags)) {
    if (!flatOptions.has(key)) refuseUnknown('flag', key, flatOptions.keys())
    given.set(key, { value, origin: 'flag', from: `--set ${key}`, baseDir: sources.workingDir })
  }
  const entries = [...flatOptions].map(([key, each]) => effectiveEntry(key, each, given.get(key), sources))
  const config = nest(entries)
  checkTogether(config)
  return { config, entries }
}

/**
 * Reads the configuration file, if there is one: `path`, else `FRESHET_CONFIG`, else `freshet.config.json` in the
 * working directory.
 * @throws FreshetError `config-invalid`
 */
export function loadConfig(sources: Omit<ConfigSources, 'file'> & { readonly path?: string }): EffectiveConfig {
  const named = sources.path ?? sources.environment.FRESHET_CONFIG
  const path = resolve(sources.workingDir, named ?? 'freshet.config.json')
  const text = readIfThere(path)
  if (text !== null) return parseConfig({ ...sources, file: { path, text } })
  if (named !== undefined) throw new FreshetError('config-invalid', `there is no configuration file ${path}`)
  return parseConfig(sources)
}

interface Given {
  readonly value: unknown
  readonly origin: ConfigOrigin
  /** How the message names the place the value came from. */
  readonly from: string
  readonly baseDir: string
}

const isOption = (node: object): node is Option<unknown> => 'description' in node

function flatten(tree: object, prefix = ''): [string, Option<unknown>][] {
  return Object.entries(tree).flatMap(([name, node]: [string, object]): [string, Option<unknown>][] =>
    isOption(node) ? [[prefix + name, node]] : flatten(node, `${prefix}${name}.`),
  )
}

const flatOptions: ReadonlyMap<string, Option<unknown>> = new Map(flatten(options))
const keyOfVariable: ReadonlyMap<string, string> = new Map([...flatOptions.keys()].map(key => [variableOf(key), key]))

/** `limits.imageBytes` is `FRESHET_LIMITS_IMAGE_BYTES`. */
function variableOf(key: string): string {
  return `FRESHET_${key
    .replaceAll('.', '_')
    .replace(/[A-Z]/g, letter => `_${letter}`)
    .toUpperCase()}`
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new FreshetError('config-invalid', `the configuration file ${path} cannot be read`, { cause })
  }
}

function readFile(file: { readonly path: string; readonly text: string }, given: Map<string, Given>): void {
  let tree: unknown
  try {
    tree = JSON.parse(file.text)
  } catch (cause) {
    throw new FreshetError('config-invalid', `${file.path} is not JSON: ${(cause as Error).message}`, { cause })
  }
  if (!isTree(tree)) throw new FreshetError('config-invalid', `${file.path} must hold one JSON object`)
  walkFile(tree, '', (key, value) => {
    if (!flatOptions.has(key)) refuseUnknown('key', key, flatOptions.keys())
    given.set(key, { value, origin: 'file', from: `${key} in ${file.path}`, baseDir: dirname(file.path) })
  })
}

const isTree = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function walkFile(tree: Record<string, unknown>, prefix: string, visit: (key: string, value: unknown) => void): void {
  for (const [name, value] of Object.entries(tree)) {
    if (isTree(value)) walkFile(value, `${prefix}${name}.`, visit)
    else visit(prefix + name, value)
  }
}

function readEnvironment(sources: ConfigSources, given: Map<string, Given>): void {
  for (const [name, value] of Object.entries(sources.environment)) {
    if (value === undefined || !name.startsWith('FRESHET_') || otherVariables.has(name)) continue
    const key = keyOfVariable.get(name)
    if (key === undefined) refuseUnknown('environment variable', name, [...keyOfVariable.keys(), ...otherVariables])
    given.set(key, { value, origin: 'environment', from: name, baseDir: sources.workingDir })
  }
}

function refuseUnknown(what: string, name: string, known: Iterable<string>): never {
  const suggestion = closestTo(name, known)
  const hint = suggestion === null ? '' : `; did you mean ${suggestion}?`
  throw new FreshetError('config-invalid', `unknown ${what} ${name}${hint}`)
}

function effectiveEntry(
  key: string,
  each: Option<unknown>,
  given: Given | undefined,
  sources: ConfigSources,
): ConfigEntry {
  const { expected, show } = each.kind
  const fallback = each.fallback(sources.machine)
  const raw = given === undefined ? fallback : each.kind.read(given.value)
  if (raw === undefined)
    throw new FreshetError('config-invalid', `${given?.from} is ${JSON.stringify(given?.value)}, expected ${expected}`)
  const value = absolutePaths(raw, each.kind, given?.baseDir ?? sources.workingDir)
  return {
    key,
    environmentName: variableOf(key),
    value,
    valueText: show(value),
    defaultText: each.fallbackText ?? show(fallback),
    origin: given?.origin ?? 'default',
    expected,
    description: each.description,
  }
}

function absolutePaths(value: unknown, kind: Kind<unknown>, baseDir: string): unknown {
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(baseDir, path))
  if (kind === path) return absolute(value as string)
  if (kind === pathList) return (value as readonly string[]).map(absolute)
  return value
}

function nest(entries: readonly ConfigEntry[]): Config {
  const config: Record<string, unknown> = {}
  for (const { key, value } of entries) {
    const [group, name] = key.split('.')
    if (name === undefined) config[key] = value
    else config[group!] = { ...(config[group!] as object | undefined), [name]: value }
  }
  return config as Config
}

const loopback = /^(127(\.\d{1,3}){3}|::1|localhost)$/

/** Rules that concern more than one option, each with the sentence an operator reads. */
function checkTogether(config: Config): void {
  const { limits, workers, dispatch, log } = config
  const broken: readonly (readonly [boolean, string])[] = [
    [
      !loopback.test(config.host) && !config.allowUnauthenticated,
      `host ${config.host} is reachable from other machines and the API has no authentication; keep 127.0.0.1 behind a proxy, or set allowUnauthenticated`,
    ],
    [config.shards > config.partitions, `shards (${config.shards}) is more than partitions (${config.partitions})`],
    [limits.imageBytes > limits.bodyBytes, 'limits.imageBytes is more than limits.bodyBytes, so no such upload fits'],
    [limits.imageBytes > config.blobStoreMaxBytes, 'limits.imageBytes is more than blobStoreMaxBytes'],
    [workers.supersedeForMs > workers.failAfterMs, 'workers.supersedeForMs is more than workers.failAfterMs'],
    [
      dispatch.tombstoneRetentionMs < log.compactionLagMs,
      'dispatch.tombstoneRetentionMs is less than log.compactionLagMs, so removals would end before log compaction begins',
    ],
  ]
  const message = broken.find(([isBroken]) => isBroken)?.[1]
  if (message !== undefined) throw new FreshetError('config-invalid', message)
}
