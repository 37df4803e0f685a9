import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { type FuzzRequest, type FuzzTarget, fuzzRequests } from '../../query-gateway/testing/fuzz/fuzz-requests.ts'
import { type FuzzAnswer, outcomeOf, wrongWith } from '../../query-gateway/testing/fuzz/fuzz-verdict.ts'
import { FreshetClient } from '../../schemas/client.ts'
import { loadConfig } from '../config.ts'
import { demoDirectory } from '../demo-catalog.ts'
import { openLogger } from '../logging.ts'
import { startServer } from '../serve.ts'

const help = `npm run test:fuzz -- [--inputs N] [--seed N] [--models]

Sends requests that are right, nearly right and hostile to a whole server over real connections, and ends with the
count of inputs by outcome. Exit code 1 when an answer is the server's fault (5xx, overloaded apart) or is not the
documented shape; the smallest request that does it is printed then.

  --inputs N   requests to send (20000)
  --models     decode pictures and run the models; without it they are derived from digests, which is quicker
  --seed N     the same seed sends the same requests (chosen by the clock, and printed)
`

const answerWithinMs = 30_000

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
    models: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const inputs = Number(values.inputs)
const seed = Number(values.seed)
if (values.help || !Number.isInteger(inputs) || inputs < 1 || !Number.isInteger(seed)) {
  process.stdout.write(help)
  process.exit(values.help ? 0 : 2)
}
process.exitCode = (await run()) ? 0 : 1

async function run(): Promise<boolean> {
  const dataDir = mkdtempSync(join(tmpdir(), 'freshet-fuzz-'))
  const flags = {
    dataDir,
    port: '0',
    stubModel: String(!values.models),
    logLevel: 'error',
    'limits.imageBytes': '1MiB',
  }
  const { config } = loadConfig({ environment: {}, workingDir: dataDir, machine: { cores: 2 }, flags })
  const failures: string[] = []
  const server = await startServer(
    config,
    openLogger({ ...config, logFormat: 'json' }, line => failures.push(line)),
  )
  try {
    return await fuzz(server.url, failures)
  } finally {
    await server.close()
    rmSync(dataDir, { recursive: true, force: true })
  }
}

async function fuzz(url: string, logged: readonly string[]): Promise<boolean> {
  const target = await seeded(url)
  const outcomes = new Map<string, number>()
  const startedAt = performance.now()
  process.stderr.write(`seed ${seed}, ${inputs} inputs\n`)
  const ask = async (request: FuzzRequest): Promise<void> => {
    const answer = await answered(url, request)
    const outcome = outcomeOf(request, answer)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    const wrong = wrongWith(request, answer)
    if (wrong !== null) throw new Error(`${wrong}\n${answer.text.slice(0, 2_000)}`)
  }
  const report = await fc.check(fc.asyncProperty(fuzzRequests(target), ask), { numRuns: inputs, seed })
  for (const [outcome, count] of [...outcomes].sort(([a], [b]) => (a < b ? -1 : 1)))
    process.stdout.write(`${String(count).padStart(9)}  ${outcome}\n`)
  const faults = [...outcomes].filter(([outcome]) => / 5\d\d /.test(outcome) && !outcome.endsWith('overloaded'))
  const seconds = Math.round((performance.now() - startedAt) / 1_000)
  const sent = [...outcomes.values()].reduce((sum, count) => sum + count, 0)
  process.stdout.write(
    `${sent} inputs in ${seconds} s, seed ${seed}; ${faults.length} kinds of 5xx (overloaded apart)\n`,
  )
  if (!report.failed) return true
  process.stdout.write(`${shown(report.counterexample?.[0])}\n${report.errorInstance}\n`)
  for (const line of logged.slice(-5)) process.stdout.write(`log: ${line}`)
  return false
}

/** Items to be found, so that searches get as far as an answer. */
async function seeded(url: string): Promise<FuzzTarget> {
  const client = new FreshetClient({ baseUrl: url })
  const views = readdirSync(join(demoDirectory, 'views')).sort().slice(0, 3)
  const pictures = views.map(name => readFileSync(join(demoDirectory, 'views', name)))
  for (const [index, bytes] of pictures.entries()) {
    const { blob } = await client.putBlob(bytes)
    await client.publishAndWait({ itemId: `item-${index}`, images: [blob], title: `Item ${index}` })
  }
  const [generation] = (await client.generations()).generations
  const [model] = (await client.models()).models
  return {
    itemIds: views.map((_name, index) => `item-${index}`),
    pictures,
    fingerprint: model!.fingerprint,
    dims: model!.dims,
    generation: generation!.id,
  }
}

function answered(url: string, { method, path, headers, body }: FuzzRequest): Promise<FuzzAnswer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const length = body === null ? {} : { 'content-length': String(body.length) }
    const call = httpRequest({ hostname, port, method, path, headers: { ...headers, ...length }, agent: false })
    call.setTimeout(answerWithinMs, () => call.destroy(new Error(`no answer within ${answerWithinMs} ms`)))
    call.once('error', reject)
    call.once('response', response => void whole(response).then(resolve, reject))
    call.end(body ?? undefined)
  })
}

async function whole(response: IncomingMessage): Promise<FuzzAnswer> {
  const chunks: Buffer[] = []
  response.on('data', chunk => chunks.push(chunk))
  await once(response, 'end')
  const contentType = response.headers['content-type'] ?? ''
  return { status: response.statusCode ?? 0, contentType, text: Buffer.concat(chunks).toString('utf8') }
}

function shown(request: FuzzRequest | undefined): string {
  if (request === undefined) return 'no counterexample'
  const { body, ...rest } = request
  return JSON.stringify({ ...rest, body: body === null ? null : Buffer.from(body).toString('latin1').slice(0, 2_000) })
}
