import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { openableParts } from '../query-gateway/access/access-options.ts'
import { FreshetError } from '../schemas/errors.ts'
import { searchThreadsFor } from '../shard-node/segments/index-tuning.ts'
import {
  boolean,
  bytes,
  choice,
  choices,
  count,
  durationMs,
  type Kind,
  name,
  optional,
  path,
  pathList,
  ports,
  secret,
  secretList,
  text,
  textList,
  url,
} from './config-kinds.ts'
import { checkTogether } from './config-rules.ts'
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
  host: option(
    text,
    '127.0.0.1',
    'Address to listen on. Anything but loopback needs API keys, or allowUnauthenticated.',
  ),
  port: option(count(0, 65_535), 7480, 'Port to listen on; 0 takes a free one.'),
  allowUnauthenticated: option(
    boolean,
    false,
    'Serve on an address other machines can reach without API keys: the API asks nobody who they are.',
  ),
  access: {
    keysFile: option(optional(path), null, 'File of API keys, read again when it changes; `freshet key new` adds one.'),
    keys: option(secretList, [], 'Lines of API keys besides those of the file, separated by commas.'),
    open: option(
      choices(...openableParts),
      ['page', 'pictures'],
      'What needs no key: of page, pictures (found by their digest only) and metrics. Probes never do.',
    ),
    requestsPerMinute: option(
      count(0),
      0,
      'Most requests a minute of a key without a limit of its own, or of an address where no keys are asked for; 0: no limit.',
    ),
    corsOrigins: option(
      textList,
      [],
      'Origins of other sites whose pages may call the API, such as https://shop.example; * is any.',
    ),
  },
  partitions: option(count(1, 1_024), 8, 'Partitions of the catalog topic. Fixed for the life of a data directory.'),
  shards: option(count(1, 64), 1, 'Shards of a new generation; partitions are spread over them.'),
  model: option(text, 'v1', 'Model set that the first generation is built with.'),
  modelsDir: option(optional(path), null, 'Directory of model sets that were added; else models in dataDir.'),
  stubModel: option(boolean, false, 'Replace the models by vectors derived from image digests. For benches and tests.'),
  processes: {
    kind: count(1, 64),
    fallback: ({ cores }) => Math.max(1, Math.min(cores, 4)),
    fallbackText: 'cores, at most 4',
    description: 'Child processes that decode pictures and run the models, for each model that is held.',
  } satisfies Option<number>,
  imagePorts: option(ports, [80, 443], 'Ports that images may be fetched from, unless private hosts are allowed.'),
  imageRoots: option(pathList, [], 'Directories that file: image references may point into.'),
  allowPrivateHosts: option(boolean, false, 'Fetch images from private and loopback addresses too.'),
  blobStoreMaxBytes: option(bytes(mebibyte), 20 * 1_024 * mebibyte, 'Bound of the store of original pictures.'),
  limits: {
    imageBytes: option(bytes(1_024), 20 * mebibyte, 'Largest image file.'),
    pixels: option(count(4_096, 268_402_689), 50_000_000, 'Most pixels of an image, checked before it is decoded.'),
    bodyBytes: option(bytes(1_024), 32 * mebibyte, 'Largest request body; bulk streams are bounded per line.'),
    maxK: option(count(1, 200), 200, 'Most results of one search.'),
    deadlineMs: option(durationMs(10), 10_000, 'Longest time one search may take.'),
    queries: option(count(1, 1_024), 32, 'Searches at once that run no model; as many more that load a picture first.'),
    pictureQueries: {
      kind: count(1, 1_024),
      fallback: ({ cores }) => 3 * Math.max(1, Math.min(cores, 4)),
      fallbackText: '3 × cores, at most 12',
      description: 'Searches at once that run the model on a picture: some more than the model processes work on.',
    } satisfies Option<number>,
    queueMs: option(
      durationMs(0),
      500,
      'Longest time a search waits for its turn, less where searches take less; beyond it, or where it would be, 503 with Retry-After.',
    ),
    heldBodyBytes: option(bytes(mebibyte), 256 * mebibyte, 'Request bodies in memory at once; beyond it 503.'),
    connections: option(count(1, 65_535), 4_096, 'Open connections; beyond it they are refused.'),
  },
  search: {
    shardTimeoutMs: option(
      durationMs(1),
      2_000,
      'Time a shard has to answer, all its replicas together; later ones are left out of the answer.',
    ),
    candidatesPerShard: option(count(1, 400), 100, 'Best items asked of each shard when the answer is ranked again.'),
    maxCandidates: option(count(1, 2_000), 400, 'Most items that are ranked again, of all shards together.'),
    maxReplicaLagMs: option(
      durationMs(0),
      5_000,
      'A replica so much staler than a sibling is not asked while the sibling answers.',
    ),
    hedgeMinMs: option(
      durationMs(1),
      5,
      "A second replica is asked after the shard's own p95 (four times that while searches wait for their turn), but no sooner than this.",
    ),
    hedgeMaxMs: option(durationMs(1), 1_000, 'And no later than this, while there is budget for it.'),
    extraPercent: option(
      count(0, 100),
      5,
      'Requests to shards beyond one per shard and search, in percent: hedges and retries together.',
    ),
    breakerFailures: option(count(1, 1_000), 5, 'Failures in a row after which a replica is left out.'),
    breakerOpenMs: option(
      durationMs(1),
      1_000,
      'Time until it is tried again; doubled while that fails, up to half a minute.',
    ),
    featuresMs: option(
      durationMs(1),
      15,
      'Longest time a ranking waits for click and save rates; it goes on without, and the answer says so.',
    ),
    pictureCacheBytes: option(
      bytes(0),
      64 * mebibyte,
      'Kept of what was seen in query pictures, by their digests; 0 for nothing.',
    ),
    candidateCacheBytes: option(
      bytes(0),
      64 * mebibyte,
      'Kept of what shards of the same process answered, until anything is written to them; 0 for nothing.',
    ),
    sessionSalt: option(
      optional(secret),
      null,
      'What sessions are hashed with before they are recorded; without, new with each start. The same for all gateways.',
    ),
    budgetMs: {
      decode: option(
        durationMs(1),
        15,
        'Target of decoding the picture, reported with what it took; no time limit, as those below.',
      ),
      detect: option(durationMs(1), 20, 'Target of finding the objects.'),
      embed: option(durationMs(1), 10, 'Target of embedding the chosen one.'),
      shards: option(durationMs(1), 30, 'Target of asking the shards.'),
      rank: option(durationMs(1), 15, 'Target of ranking again.'),
    },
  },
  workers: {
    claim: option(count(1, 4_096), 64, 'Jobs held by the worker loop at once.'),
    leaseMs: option(
      durationMs(1_000),
      20_000,
      'A job whose worker has not been heard of for this long is taken by another one.',
    ),
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
    acceptMissedRemovals: option(
      boolean,
      false,
      'Go on although all dispatchers were away for longer than that: deletes by null value may be missed.',
    ),
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
  generations: {
    canaryBounds: option(
      optional(path),
      null,
      'File of bounds that the canary gate holds a generation against; without, those that come with Freshet.',
    ),
    goldenSet: option(
      pathList,
      [],
      'Files of labelled questions for the canary gate, pictures beside them; without, those of the demo where it is on.',
    ),
    probeEveryMs: option(
      durationMs(0),
      60_000,
      'How often every replica is probed with vectors whose neighbours are known; 0: never.',
    ),
    undoMaxAgeMs: option(
      durationMs(0),
      5_000,
      'An undo to a generation whose index is older than this is refused without force.',
    ),
    warmMs: option(
      durationMs(0),
      dayMs,
      'How long a generation is kept after it lost its last query; it can be retired before with force.',
    ),
    maxFailedItems: option(
      count(0),
      0,
      'Items that may have failed in a new generation and not in the one it replaces, for its certificate to hold.',
    ),
    maxFailedPercent: option(
      count(0, 100),
      0,
      'The same as a percentage of the live items; the larger of the two counts.',
    ),
  },
  checkpointEveryMs: option(durationMs(100), 30_000, 'Time between checkpoints of a shard.'),
  kafka: {
    brokers: option(
      textList,
      ['127.0.0.1:9092'],
      'Brokers of the distributed form, host:port; some of them are enough.',
    ),
    tls: option(boolean, false, 'Encrypt connections to the brokers and check their certificates.'),
    tlsCa: option(optional(path), null, 'PEM file of the authorities to trust; without it the usual ones.'),
    tlsCert: option(optional(path), null, 'PEM file of the certificate shown to the brokers.'),
    tlsKey: option(optional(path), null, 'PEM file of its key.'),
    sasl: option(
      choice('none', 'plain', 'scram-sha-256', 'scram-sha-512'),
      'none',
      'How users are checked by the brokers.',
    ),
    username: option(optional(text), null, 'User of the brokers.'),
    password: option(optional(secret), null, 'Password of that user.'),
  },
  registry: {
    url: option(
      url('http:', 'https:'),
      'http://127.0.0.1:8081/apis/ccompat/v7',
      "Base address of the schema registry, of Confluent's protocol.",
    ),
    otherUrls: option(textList, [], 'Further addresses of it, asked in this order where the first does not answer.'),
    username: option(optional(text), null, 'User of the registry.'),
    password: option(optional(secret), null, 'Password of that user.'),
    token: option(optional(secret), null, 'Bearer token shown to the registry, instead of user and password.'),
    tlsCa: option(optional(path), null, 'PEM file of the authorities to trust; without it the usual ones.'),
    tlsCert: option(optional(path), null, 'PEM file of the certificate shown to the registry.'),
    tlsKey: option(optional(path), null, 'PEM file of its key.'),
  },
  redis: {
    url: option(
      url('redis:', 'rediss:'),
      'redis://127.0.0.1:6379',
      'Redis of the work queue and the features; rediss: encrypts. May hold user and password.',
    ),
    password: option(optional(secret), null, 'Password, instead of one in the address.'),
    tlsCa: option(optional(path), null, 'PEM file of the authorities to trust; without it the usual ones.'),
    tlsCert: option(optional(path), null, 'PEM file of the certificate shown to Redis.'),
    tlsKey: option(optional(path), null, 'PEM file of its key.'),
    prefix: option(text, 'freshet', 'Before every key; installations that share a Redis differ in it.'),
  },
  shard: {
    number: option(count(0, 63), 0, 'Which shard a shard process holds.'),
    replica: option(name, 'a', 'Which replica of that shard it is, such as a or b.'),
    snapshotRoots: option(pathList, [], 'Directories of its machine under which gateways may have snapshots written.'),
  },
  advertisedUrl: option(
    optional(url('http:', 'https:')),
    null,
    'Where other processes reach this one; else host and port.',
  ),
  internalSecret: option(
    optional(secret),
    null,
    'What gateways, shards and dispatchers show each other; the same for all of them.',
  ),
  blobsDir: option(
    optional(path),
    null,
    'Directory of original pictures that gateway and work processes share; else one in dataDir.',
  ),
  waitForServersMs: option(durationMs(0), 300_000, 'How long a starting role waits for servers that do not answer.'),
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
  /** Secrets hidden. */
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
const otherVariables: ReadonlySet<string> = new Set(['FRESHET_CONFIG', 'FRESHET_URL', 'FRESHET_API_KEY'])

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
  const settings = [...flatOptions].map(([key, each]) => effectiveSetting(key, each, given.get(key), sources))
  const config = nest(settings)
  checkTogether(config)
  return { config, entries: settings.map(({ entry }) => entry) }
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

/** A value in effect; the entry shows of it what may be printed. */
interface Setting {
  readonly key: string
  readonly value: unknown
  readonly entry: ConfigEntry
}

function effectiveSetting(
  key: string,
  each: Option<unknown>,
  given: Given | undefined,
  sources: ConfigSources,
): Setting {
  const { expected, show, reveal, locate } = each.kind
  const fallback = each.fallback(sources.machine)
  const raw = given === undefined ? fallback : each.kind.read(given.value)
  if (raw === undefined) {
    const what = reveal === undefined ? JSON.stringify(given?.value) : 'not to be printed'
    throw new FreshetError('config-invalid', `${given?.from} is ${what}, expected ${expected}`)
  }
  const baseDir = given?.baseDir ?? sources.workingDir
  const value = locate === undefined ? raw : locate(raw, path => (isAbsolute(path) ? path : join(baseDir, path)))
  const entry: ConfigEntry = {
    key,
    environmentName: variableOf(key),
    value: reveal === undefined ? value : reveal(value),
    valueText: show(value),
    defaultText: each.fallbackText ?? show(fallback),
    origin: given?.origin ?? 'default',
    expected,
    description: each.description,
  }
  return { key, value, entry }
}

function nest(settings: readonly Setting[]): Config {
  const config: Record<string, unknown> = {}
  for (const { key, value } of settings) {
    const [group, name] = key.split('.')
    if (name === undefined) config[key] = value
    else config[group!] = { ...(config[group!] as object | undefined), [name]: value }
  }
  return config as Config
}
