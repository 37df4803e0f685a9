import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type ArtifactSet, fetchArtifacts } from '../../../topologies/servers/maven-artifacts.ts'

const examples = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

export interface Servers {
  readonly brokers: readonly string[]
  readonly registryUrl: string
}

/** Runs an example, such as `publish`. @returns the lines it printed @throws Error with what it printed when it fails */
export type RunExample = (program: string, ...args: readonly string[]) => Promise<readonly string[]>

export interface ForeignClient {
  readonly language: string
  /** Fetches the packages the examples name, once per machine. */
  readonly prepare: (servers: Servers) => Promise<RunExample>
}

export const python: ForeignClient = {
  language: 'Python',
  prepare: async ({ brokers, registryUrl }) => {
    const interpreter = join(await pythonEnvironment(), 'bin', 'python')
    const env = { ...process.env, PYTHONIOENCODING: 'utf-8' }
    const servers = ['--brokers', brokers.join(','), '--registry', registryUrl]
    return async (program, ...args) => {
      const source = join(examples, 'python', `${program}.py`)
      return linesOf((await run(interpreter, [source, ...servers, ...args], { env })).stdout)
    }
  },
}

export const java: ForeignClient = {
  language: 'Java',
  prepare: async ({ brokers, registryUrl }) => {
    const packages = join(await fetchArtifacts(await javaPackages()), '*')
    const options = ['-Dfile.encoding=UTF-8', '-Dsun.stdout.encoding=UTF-8', '-XX:TieredStopAtLevel=1', '-cp', packages]
    // Java reads its arguments by the locale.
    const env = { ...process.env, LC_ALL: 'C.UTF-8' }
    return async (program, ...args) => {
      const source = join(examples, 'java', `${program[0]!.toUpperCase()}${program.slice(1)}.java`)
      return linesOf((await run('java', [...options, source, brokers.join(','), registryUrl, ...args], { env })).stdout)
    }
  },
}

const linesOf = (text: string): readonly string[] => text.split('\n').filter(line => line !== '')

/** The dependencies of the example's own `pom.xml`. */
async function javaPackages(): Promise<ArtifactSet> {
  const pom = await readFile(join(examples, 'java', 'pom.xml'), 'utf8')
  const element = (xml: string, name: string): string => new RegExp(`<${name}>(.*?)</${name}>`).exec(xml)![1]!
  const dependencies = [...pom.matchAll(/<dependency>.*?<\/dependency>/gs)].map(([xml]) =>
    ['groupId', 'artifactId', 'version'].map(name => element(xml, name)).join(':'),
  )
  const version = dependencies.map(each => each.split(':').at(-1)).join('-')
  return { kind: 'jars', name: 'java-clients', version, title: 'The Java clients', megabytes: 25, dependencies }
}

/** A virtual environment with the example's own `requirements.txt`, in the cache; complete when it exists. */
async function pythonEnvironment(): Promise<string> {
  const requirements = join(examples, 'python', 'requirements.txt')
  const [, version] = (await readFile(requirements, 'utf8')).trim().split('==')
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'freshet')
  const folder = join(cache, `python-clients-${version}`)
  if (existsSync(folder)) return folder
  await mkdir(cache, { recursive: true })
  const part = await mkdtemp(`${folder}.part-`)
  try {
    await run('python3', ['-m', 'venv', part])
    await run(join(part, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--requirement', requirements])
    // Another process may have been first; its folder is as good.
    await rename(part, folder).catch(error => {
      if (!existsSync(folder)) throw error
    })
  } finally {
    await rm(part, { recursive: true, force: true })
  }
  return folder
}
