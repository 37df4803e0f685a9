import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { acceptsConnections, isPortFree } from '../topologies/servers/free-ports.ts'
import { isAlive } from '../topologies/servers/server-process.ts'
import { ServerSet } from '../topologies/servers/server-set.ts'
import { renderTable } from './cli/table.ts'
import { processTerminal } from './cli/terminal.ts'

/** `npm run stack`: the servers of the distributed form for local development, until Ctrl-C. */
interface StackOptions {
  readonly directory: string
  readonly kafkaPort: number
  readonly registryPort: number
  readonly redisPort: number
  readonly json: boolean
}

interface StackServer {
  readonly name: string
  /** As clients write it. */
  readonly address: string
  readonly port: number
  readonly pid: number
  output(): string
}

const defaultPorts = { kafka: 9092, registry: 8081, redis: 6379 } as const
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const healthEveryMs = 1_000

const terminal = processTerminal()
const options = parseCommandLine()
/** The health is one line that is drawn over and over; else a line whenever it changes. */
const isLive = terminal.isTty && !options.json
try {
  process.exitCode = await runStack()
} catch (thrown) {
  const error = asFreshetError(thrown)
  if (options.json) terminal.print(JSON.stringify(error.toBody()))
  terminal.note(`${terminal.colors.red('stack:')} ${error.message}`)
  process.exitCode = 1
}

function parseCommandLine(): StackOptions {
  return new Command('npm run stack --')
    .description('Starts Kafka, a schema registry and Redis on 127.0.0.1, until Ctrl-C. Their data is kept.')
    .option('--directory <path>', 'where their data is kept', 'data/stack')
    .option('--kafka-port <port>', 'port of Kafka', portOf, defaultPorts.kafka)
    .option('--registry-port <port>', 'port of the schema registry', portOf, defaultPorts.registry)
    .option('--redis-port <port>', 'port of Redis', portOf, defaultPorts.redis)
    .option('--json', 'print addresses and pids as one line of JSON, and nothing else', false)
    .parse()
    .opts<StackOptions>()
}

function portOf(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is a whole number from 1 to 65535.')
  return port
}

/** Aborted by a signal. A further one changes nothing: npm passes on the Ctrl-C that the terminal has sent already. */
function endOnSignal(): AbortSignal {
  const ending = new AbortController()
  for (const signal of signals) process.on(signal, () => ending.abort())
  return ending.signal
}

/** Resolves with the exit code when the servers are stopped. One that exits by itself ends all of them. */
async function runStack(): Promise<number> {
  await checkPorts()
  note('starting Kafka, the schema registry and Redis …')
  const directory = resolve(options.directory)
  const ports = { kafka: options.kafkaPort, registry: options.registryPort, redis: options.redisPort }
  // A signal meanwhile ends this process at once, and with it what has started.
  const set = await ServerSet.start({ directory, ports })
  const ending = endOnSignal()
  const servers = serversOf(set)
  announce(servers, directory)
  const lost = await watch(servers, ending)
  if (lost !== null) terminal.note(`${terminal.colors.red('stack:')} ${lost.name} has exited:\n${lost.output()}`)
  note('stopping')
  await set.stop()
  note(`stopped; the data stays in ${options.directory}`)
  return lost === null ? 0 : 1
}

async function checkPorts(): Promise<void> {
  const wanted = [
    { name: 'Kafka', flag: '--kafka-port', port: options.kafkaPort },
    { name: 'the schema registry', flag: '--registry-port', port: options.registryPort },
    { name: 'Redis', flag: '--redis-port', port: options.redisPort },
  ]
  const areFree = await Promise.all(wanted.map(({ port }) => isPortFree(port)))
  const taken = wanted.filter((_, i) => !areFree[i])
  if (taken.length === 0) return
  const ports = taken.map(({ name, port }) => `${port} for ${name}`).join(', ')
  const flags = taken.map(({ flag }) => flag).join(', ')
  throw new FreshetError(
    'address-in-use',
    `cannot listen on 127.0.0.1, port ${ports}: stop what listens there, or choose another with ${flags}.`,
  )
}

function serversOf({ kafka, registry, redis }: ServerSet): readonly StackServer[] {
  return [
    {
      name: 'Kafka',
      address: kafka.brokers.join(','),
      port: options.kafkaPort,
      pid: kafka.pidOf(1)!,
      output: () => kafka.output(),
    },
    {
      name: 'schema registry',
      address: registry.url,
      port: options.registryPort,
      pid: registry.pid!,
      output: () => registry.output(),
    },
    { name: 'Redis', address: redis.url, port: options.redisPort, pid: redis.pid!, output: () => redis.output() },
  ]
}

function announce(servers: readonly StackServer[], directory: string): void {
  const [kafka, registry, redis] = servers as [StackServer, StackServer, StackServer]
  if (options.json) {
    const described = ({ address, pid }: StackServer) => ({ address, pid })
    const body = { directory, kafka: described(kafka), registry: described(registry), redis: described(redis) }
    terminal.print(JSON.stringify(body))
    return
  }
  const table = renderTable(
    servers,
    [
      { name: 'server', of: ({ name }) => name },
      { name: 'address', of: ({ address }) => address },
      { name: 'pid', of: ({ pid }) => String(pid), align: 'right' },
    ],
    terminal.columns - 2,
  )
  const environment = [
    `FRESHET_KAFKA_BROKERS=${kafka.address}`,
    `FRESHET_REGISTRY_URL=${registry.address}`,
    `FRESHET_REDIS_URL=${redis.address}`,
  ]
  const { dim } = terminal.colors
  const areDefaults = Object.values(defaultPorts).every((port, i) => port === servers[i]!.port)
  const label = dim(`environment for the roles${areDefaults ? ', which is their default' : ''}:`)
  for (const line of ['', ...table, '', label, ...environment, '']) terminal.print(line === '' ? '' : `  ${line}`)
  terminal.print(`  ${dim(`data in ${options.directory} · Ctrl-C stops all`)}\n`)
}

/** Shows the health until the end is asked for (null) or a server has exited. */
async function watch(servers: readonly StackServer[], ending: AbortSignal): Promise<StackServer | null> {
  const startedMs = performance.now()
  let shown = ''
  while (!ending.aborted) {
    const lost = servers.find(({ pid }) => !isAlive(pid))
    if (lost !== undefined) {
      clearLine()
      return lost
    }
    const answers = await Promise.all(servers.map(({ port }) => acceptsConnections(port)))
    const health = servers.map(({ name }, i) => healthOf(name, answers[i]!)).join('   ')
    clearLine()
    if (isLive) terminal.draw(`  ${health}   ${terminal.colors.dim(upTime(performance.now() - startedMs))}`)
    else if (health !== shown) note(health)
    shown = health
    await delay(healthEveryMs, undefined, { signal: ending }).catch(() => undefined)
  }
  clearLine()
  return null
}

function clearLine(): void {
  if (isLive) terminal.draw('\r\x1b[K')
}

function healthOf(name: string, answers: boolean): string {
  const { green, red } = terminal.colors
  return answers ? green(`● ${name}`) : red(`○ ${name} does not answer`)
}

function upTime(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const twoDigits = (count: number) => String(count % 60).padStart(2, '0')
  return `up ${Math.floor(seconds / 3600)}:${twoDigits(Math.floor(seconds / 60))}:${twoDigits(seconds)}`
}

/** Talk about the work, which `--json` leaves out. */
function note(line: string): void {
  if (!options.json) terminal.note(`  ${line}`)
}
