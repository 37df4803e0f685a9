import picocolors from 'picocolors'
import { describe, expect, test } from 'vitest'
import { runCli } from '../testing/captured-cli.ts'
import { freePort } from '../testing/server-process.ts'
import { buildProgram } from './program.ts'

const program = buildProgram(
  {
    terminal: {
      print: () => {},
      note: () => {},
      draw: () => {},
      isTty: false,
      columns: 100,
      colors: picocolors.createColors(false),
    },
    environment: {},
    workingDir: '/nowhere',
    cores: 2,
    interrupted: new AbortController().signal,
    exitWith: () => {},
  },
  '0.0.0',
)
const leaves = program.commands.flatMap(command =>
  command.commands.length === 0
    ? [{ name: command.name(), command }]
    : command.commands.map(child => ({ name: `${command.name()} ${child.name()}`, command: child })),
)

test('the commands of the contract that this version has', () => {
  expect(leaves.map(({ name }) => name)).toEqual([
    'serve',
    'status',
    'publish',
    'delete',
    'search',
    'receipt',
    'dead-letters list',
    'dead-letters show',
    'dead-letters redrive',
    'dead-letters drop',
    'snapshot',
    'backup',
    'restore',
    'model list',
    'model add',
    'model check',
    'generation list',
    'generation show',
    'generation build',
    'generation reshard',
    'generation pause',
    'generation resume',
    'generation verify',
    'generation canary',
    'generation route',
    'generation rollback',
    'generation retire',
    'replay',
    'topics check',
    'topics apply',
    'schemas check',
    'schemas register',
    'key new',
    'key list',
    'config',
    'doctor',
    'dispatch',
    'work',
    'shard',
    'gateway',
    'eval',
    'bench',
  ])
})

describe.each(leaves)('$name', ({ name, command }) => {
  test('takes --json and shows an example in its help', async () => {
    expect(command.options.map(({ long }) => long)).toContain('--json')
    const help = await runCli([...name.split(' '), '--help'])
    expect(help.exitCode).toBe(0)
    expect(help.out.join('\n')).toContain(`Example:\n  freshet ${name}`)
  })
})

describe('a wrong command line ends with 2 and says what is meant', () => {
  test.each([
    [['stauts'], 'Did you mean status?'],
    [['search'], "missing required argument 'image'"],
    [['status', '--wach'], 'Did you mean --watch?'],
    [['dead-letters', 'drop'], 'name a dead letter, or give --all'],
  ])('%j', async (commandLine, message) => {
    const { exitCode, err } = await runCli(commandLine)
    expect(exitCode).toBe(2)
    expect(err.join('\n')).toContain(message)
  })
})

describe('a failure ends with 1, one line and a hint', () => {
  test('no server', async () => {
    const environment = { FRESHET_PORT: String(await freePort()) }
    const { exitCode, err, out } = await runCli(['status'], { environment })
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: [] })
    expect(err[0]).toBe(
      `freshet: no Freshet server answers at http://127.0.0.1:${environment.FRESHET_PORT} (not-ready)`,
    )
    expect(err[1]).toContain('`npm start`')
  })

  test('with --json the error is JSON on stdout too', async () => {
    const { out } = await runCli(['status', '--json', '--url', `http://127.0.0.1:${await freePort()}`])
    expect(JSON.parse(out[0]!)).toMatchObject({ error: { code: 'not-ready', retryable: true } })
  })

  test('a wrong option value', async () => {
    const { exitCode, err } = await runCli(['config', '--set', 'prot=1'])
    expect(exitCode).toBe(1)
    expect(err[0]).toBe('freshet: unknown flag prot; did you mean port? (config-invalid)')
  })

  test('a picture that is not there', async () => {
    const { exitCode, err } = await runCli(['search', '/nowhere/room.jpg'])
    expect(exitCode).toBe(1)
    expect(err[0]).toContain('the picture /nowhere/room.jpg cannot be read')
  })
})

test('config tells value, origin and name of every option', async () => {
  const { out } = await runCli(['config', '--json', '--port', '81'], { environment: { FRESHET_SHARDS: '2' } })
  const entries = JSON.parse(out[0]!) as { readonly key: string }[]
  expect(entries.find(({ key }) => key === 'port')).toMatchObject({ value: 81, origin: 'flag' })
  expect(entries.find(({ key }) => key === 'shards')).toMatchObject({ value: 2, origin: 'environment' })
  const lines = (await runCli(['config'])).out.join('\n')
  expect(lines).toContain('limits.imageBytes = 20MiB  default')
  expect(lines).toContain('FRESHET_LIMITS_IMAGE_BYTES')
})
