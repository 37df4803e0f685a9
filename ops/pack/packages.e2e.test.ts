import { execFile } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as generationShapes from '../../schemas/http-generations.ts'
import * as itemShapes from '../../schemas/http-items.ts'
import * as operationShapes from '../../schemas/http-operations.ts'
import * as searchShapes from '../../schemas/http-search.ts'
import { type ServerProcess, startServerProcess } from '../testing/server-process.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const picture = join(root, 'ops/catalog/furniture/images/blendswap-cc-0-1.webp')
const run = promisify(execFile)
const typeRoots = [join(root, 'node_modules/@types')]
/** Without what `npm test` tells the programs it starts. */
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_|^FRESHET_/i.test(name)))

let scratch: string
let project: string
/** Of the package as it is installed. */
let installed: string
let server: ServerProcess

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'freshet-packages-'))
  project = join(scratch, 'shop')
  mkdirSync(project)
  // The whole package first: packing it makes what the client's is packed from.
  await pack('.')
  await pack('./dist/client')
  installed = await unpackWhole()
  const script = join(installed, 'dist/server/ops/freshet.js')
  server = await startServerProcess({ dataDir: join(scratch, 'data'), env: { FRESHET_STUB_MODEL: 'true' }, script })
}, 240_000)

afterAll(async () => {
  await server?.stop()
  rmSync(scratch, { recursive: true, force: true })
})

const pack = (of: string) => npm(['pack', of, '--pack-destination', scratch], root)

function npm(args: readonly string[], cwd: string) {
  return run('npm', [...args, '--offline', '--no-audit', '--no-fund', '--loglevel=error'], { cwd, env: environment })
}

function tarball(name: string): string {
  const file = readdirSync(scratch).find(each => new RegExp(`^${name}-\\d.*\\.tgz$`).test(each))
  return join(scratch, file!)
}

/** The package below a `node_modules`, where Node runs no TypeScript; its dependencies are those of the checkout. */
async function unpackWhole(): Promise<string> {
  const directory = join(scratch, 'machine', 'node_modules', 'freshet')
  mkdirSync(directory, { recursive: true })
  await run('tar', ['-xzf', tarball('freshet'), '--strip-components=1', '-C', directory])
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  return directory
}

const shop = `
import { readFileSync } from 'node:fs'
import { type BulkLine, FreshetClient, FreshetError, type SearchAnswer } from 'freshet-client'

const client = new FreshetClient({ baseUrl: process.argv[2]!, timeoutMs: 60_000 })
await client.ready()
const { blob } = await client.putBlob(readFileSync(process.argv[3]!))
const receipt = await client.publishAndWait({ itemId: 'sofa-1', images: [blob], title: 'Sofa', price: 749 })
const lines: BulkLine[] = [{ upsert: { itemId: 'sofa-2', images: [blob] } }, { delete: { itemId: 'sofa-3' } }]
let answered = 0
for await (const answer of client.bulk(lines)) if ('receipt' in answer) answered++
const found: SearchAnswer = await client.search({ image: { itemId: 'sofa-1' }, k: 1 }, { timeoutMs: 5_000 })
let code = ''
try {
  await client.item('unknown')
} catch (error) {
  if (error instanceof FreshetError && !error.retryable) code = error.code
}
console.log(JSON.stringify({ status: receipt.status, answered, results: found.results.length, code }))
`

test('the client is installed into an empty project, compiled against and run, and brings no other package', async () => {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'shop', private: true, type: 'module' }))
  await npm(['install', tarball('freshet-client')], project)
  expect(readdirSync(join(project, 'node_modules')).filter(name => !name.startsWith('.'))).toEqual(['freshet-client'])
  writeFileSync(join(project, 'shop.ts'), shop)
  // Types of Node from the checkout; everything else, also the package's own declarations, is checked.
  const compilerOptions = {
    ...{ target: 'es2024', module: 'nodenext', strict: true, exactOptionalPropertyTypes: true, outDir: 'built' },
    ...{ types: ['node'], typeRoots },
  }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['shop.ts'] }))
  await compile(project)
  const { stdout } = await run(process.execPath, ['built/shop.js', server.url, picture], { cwd: project })
  expect(JSON.parse(stdout)).toEqual({ status: 'searchable', answered: 2, results: 1, code: 'item-not-found' })
})

test('a mistake of type is refused by the compiler', async () => {
  const wrong = `import { FreshetClient } from 'freshet-client'
    await new FreshetClient({ baseUrl: '' }).publish({ itemId: 'a', images: [], price: 'ten' })`
  writeFileSync(join(project, 'shop.ts'), wrong)
  await expect(compile(project)).rejects.toThrow(/TS2322: Type 'string' is not assignable to type 'number'/)
})

test('the types of the package are those that the code derives from its shapes', async () => {
  const modules = {
    'http-items': itemShapes,
    'http-operations': operationShapes,
    'http-search': searchShapes,
    'http-generations': generationShapes,
  }
  const declared = readFileSync(join(installed, 'dist/client/types.d.ts'), 'utf8')
  const lines = Object.entries(modules).flatMap(([module, shapes]) =>
    Object.keys(shapes).flatMap(name => {
      const isType = new RegExp(`export type ${name}\\b`).test(readFileSync(join(root, `schemas/${module}.ts`), 'utf8'))
      if (!isType || !declared.includes(`export type ${name} =`)) return []
      const [own, built] = [join(root, `schemas/${module}.ts`), join(installed, 'dist/client/types.js')]
      return `{ const same: Same<import('${own}').${name}, import('${built}').${name}> = true; void same }`
    }),
  )
  expect(lines.length).toBeGreaterThan(20)
  const directory = join(scratch, 'same')
  mkdirSync(directory)
  const helper = 'type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never'
  writeFileSync(join(directory, 'same.ts'), `${helper}\n${lines.join('\n')}\nexport {}\n`)
  const options = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { rootDir: '/', typeRoots },
    files: ['same.ts'],
  }
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ ...options, include: [] }))
  await compile(directory)
})

test('the whole package serves below node_modules, has the client too, and answers to npx', async () => {
  const script = `import { FreshetClient } from 'freshet/client'
    const { ready } = await new FreshetClient({ baseUrl: process.argv[2] }).status()
    console.log(ready)`
  const machine = join(scratch, 'machine')
  writeFileSync(join(machine, 'ask.mjs'), script)
  expect((await run(process.execPath, ['ask.mjs', server.url], { cwd: machine })).stdout).toBe('true\n')
  writeFileSync(join(machine, 'package.json'), JSON.stringify({ name: 'machine', private: true }))
  linkCommand(machine)
  const path = `${join(root, 'node_modules/.bin')}:${environment.PATH}`
  const { stdout } = await run('npx', ['--offline', 'freshet', '--version'], {
    cwd: machine,
    env: { ...environment, PATH: path },
  })
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string }
  expect(stdout.trim()).toBe(version)
})

/** As an installation does, which would need the network for the dependencies. */
function linkCommand(machine: string): void {
  const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { bin: Record<string, string> }
  const directory = join(machine, 'node_modules', '.bin')
  mkdirSync(directory)
  for (const [name, script] of Object.entries(bin)) {
    chmodSync(join(installed, script), 0o755)
    symlinkSync(join('..', 'freshet', script), join(directory, name))
  }
}

async function compile(directory: string): Promise<void> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  await run(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: directory }).catch(({ stdout }) => {
    throw new Error(stdout)
  })
}
