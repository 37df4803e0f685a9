import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findChromium } from './chromium.mjs'

/**
 * `npm test`: types, lint and format, then the tests by what they need, cheapest first. Stops at the first stage that
 * fails. Names of stages as arguments run those alone.
 */
interface Stage {
  readonly name: string
  readonly what: string
  readonly command: readonly string[]
  /** Counts tests: writes a report of Vitest to the path put at the end. */
  readonly project?: string
}

const vitest = (project: string): readonly string[] => ['vitest', 'run', '--project', project, '--passWithNoTests']

const stages: readonly Stage[] = [
  { name: 'types', what: 'the type check', command: ['tsc', '--noEmit'] },
  { name: 'lint', what: 'lint and format', command: ['biome', 'check', '--error-on-warnings'] },
  { name: 'unit', what: 'tests that need nothing', command: vitest('unit'), project: 'unit' },
  { name: 'e2e', what: 'tests against a real server', command: vitest('e2e'), project: 'e2e' },
  {
    name: 'servers',
    what: 'tests against real Kafka, Redis and registry',
    command: vitest('servers'),
    project: 'servers',
  },
  { name: 'crash', what: 'tests that kill processes', command: vitest('crash'), project: 'crash' },
  { name: 'browser', what: 'tests in a real browser', command: vitest('browser'), project: 'browser' },
]

interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

const root = fileURLToPath(new URL('..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'freshet-tests-'))
const chosen = stages.filter(({ name }) => process.argv.length === 2 || process.argv.includes(name))
let total: Counts = { passed: 0, failed: 0, skipped: 0 }
let broken: Stage | null = null

for (const stage of chosen) {
  const startedMs = performance.now()
  process.stdout.write(`\n▶ ${stage.name}: ${stage.what}\n`)
  const { isGood, counts } = run(stage)
  total = sum(total, counts)
  if (!isGood) {
    broken = stage
    break
  }
  process.stdout.write(`✓ ${stage.name} in ${((performance.now() - startedMs) / 1000).toFixed(1)} s\n`)
}
rmSync(scratch, { recursive: true })

if (broken !== null) process.stdout.write(`\n✗ ${broken.what} failed; later stages were not run\n`)
const skipped = total.skipped === 0 ? '' : `, ${total.skipped} skipped`
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed${skipped}\n`)
process.exitCode = broken === null ? 0 : 1

function run({ command, project }: Stage): { readonly isGood: boolean; readonly counts: Counts } {
  const report = join(scratch, `${project}.json`)
  const reporting =
    project === undefined ? [] : ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const [program, ...args] = command
  const { status } = spawnSync(
    process.execPath,
    [join(root, 'node_modules', '.bin', program!), ...args, ...reporting],
    {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, CHROMIUM_PATH: findChromium(process.env) ?? '' },
    },
  )
  const failed = status === 0 ? 0 : 1
  const counts = project === undefined ? { passed: 0, failed, skipped: 0 } : countsOf(report, status === 0)
  return { isGood: status === 0 && counts.failed === 0, counts }
}

/** A stage that fails without a report, such as one whose set-up throws, counts as one failure. */
function countsOf(path: string, isGood: boolean): Counts {
  const report = readReport(path)
  const failed = report.numFailedTests ?? 0
  return {
    passed: report.numPassedTests ?? 0,
    failed: isGood ? failed : Math.max(1, failed),
    skipped: (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0),
  }
}

interface VitestReport {
  readonly numPassedTests?: number
  readonly numFailedTests?: number
  readonly numPendingTests?: number
  readonly numTodoTests?: number
}

function readReport(path: string): VitestReport {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as VitestReport
  } catch {
    return {}
  }
}

function sum(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped }
}
