import { execFile } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as generationShapes from '../../schemas/http-generations.ts'
import * as itemShapes from '../../schemas/http-items.ts'
import * as operationShapes from '../../schemas/http-operations.ts'
import * as searchShapes from '../../schemas/http-search.ts'
import { folders } from '../import-rules.ts'
import { clientManifest, clientReadme, indexScript, indexTypes } from './client-package.ts'
import { declarations } from './type-text.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Modules of `schemas` that the client runs; the shapes are there for their types only. */
const clientModules = ['client', 'client-streams', 'client-transport', 'errors'] as const

/**
 * Makes what the packages hold, as JavaScript, since Node runs no TypeScript below `node_modules`: `client`, which is a
 * package of its own and needs no other, and `server`, the `freshet` command with the files that it reads.
 * @throws Error with what the compiler says
 */
export async function buildPackages(directory: string): Promise<void> {
  rmSync(directory, { recursive: true, force: true })
  await buildClient(join(directory, 'client'))
  await buildServer(join(directory, 'server'))
}

async function buildClient(directory: string): Promise<void> {
  const compiled = await mkdtemp(join(tmpdir(), 'freshet-pack-'))
  try {
    await compile('tsconfig.client.json', compiled)
    mkdirSync(directory, { recursive: true })
    for (const module of clientModules) {
      cpSync(join(compiled, `${module}.js`), join(directory, `${module}.js`))
      const types = readFileSync(join(compiled, `${module}.d.ts`), 'utf8')
      writeFileSync(join(directory, `${module}.d.ts`), withBuiltTypes(types))
    }
  } finally {
    rmSync(compiled, { recursive: true })
  }
  writeFileSync(
    join(directory, 'types.d.ts'),
    declarations([itemShapes, operationShapes, searchShapes, generationShapes]),
  )
  writeFileSync(join(directory, 'index.js'), indexScript)
  writeFileSync(join(directory, 'index.d.ts'), indexTypes)
  writeFileSync(join(directory, 'package.json'), clientManifest(readFileSync(join(root, 'package.json'), 'utf8')))
  writeFileSync(join(directory, 'README.md'), clientReadme)
  cpSync(join(root, 'LICENSE'), join(directory, 'LICENSE'))
}

/** The types of the shapes without the shape library; other modules by the names they have now. */
function withBuiltTypes(types: string): string {
  return types.replaceAll(/'\.\/http-[a-z]+\.ts'/g, "'./types.js'").replaceAll(/('\.\/[a-z-]+)\.ts'/g, "$1.js'")
}

async function buildServer(directory: string): Promise<void> {
  await compile('tsconfig.server.json', directory)
  for (const path of globSync('**/*.js', { cwd: directory })) nameScripts(join(directory, path))
  for (const path of dataFiles()) cpSync(join(root, path), join(directory, path), { recursive: true })
  const command = join(directory, 'ops', 'freshet.js')
  writeFileSync(command, `#!/usr/bin/env node\n${readFileSync(command, 'utf8')}`)
  const { name, version, type } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify({ name, version, type }, null, 2)}\n`)
}

const scriptUrl = /(new URL\(\s*(['"]))([^'"]+)\.ts(\2,\s*import\.meta\.url\))/g

/** Threads and processes are started from files, whose names the compiler leaves as they are. */
function nameScripts(path: string): void {
  const script = readFileSync(path, 'utf8')
  const named = script.replaceAll(scriptUrl, (_whole, before: string, _quote, file: string, after: string) => {
    if (!existsSync(join(dirname(path), `${file}.js`)))
      throw new Error(`${basename(path)} starts ${file}.ts: name it in ops/pack/tsconfig.server.json`)
    return `${before}${file}.js${after}`
  })
  if (named !== script) writeFileSync(path, named)
}

/** Read by nobody but people, tests, benches and builds; not so where pictures are from, which goes with them. */
const unread =
  /(^|\/)(testing|bench|decisions|examples|pack|assembly|screenshots|node_modules)\/|\.(ts|mts)$|(?<!ATTRIBUTION)\.md$|tsconfig[.\w]*\.json$/

/** Everything the server may read at run time, such as schemas, models, the page and the demo catalogue. */
function dataFiles(): readonly string[] {
  return globSync(`{${folders.join(',')}}/**/*`, { cwd: root, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(root.length).replaceAll(sep, '/'))
    .filter(path => !unread.test(path) && !/^(topologies|shard-node)\/(.*\/)?golden\//.test(path))
}

async function compile(project: string, outDir: string): Promise<void> {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const args = [tsc, '-p', join(import.meta.dirname, project), '--outDir', outDir]
  try {
    await promisify(execFile)(process.execPath, args, { cwd: root })
  } catch (thrown) {
    const { stdout = '' } = thrown as { readonly stdout?: string }
    throw new Error(`the compiler refuses ${project}:\n${stdout}`, { cause: thrown })
  }
}
