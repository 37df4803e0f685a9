import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { isAlive } from './server-process.ts'

/** Files of a server, fetched together by Maven and kept in a folder of the cache. */
interface ArtifactSetBase {
  readonly name: string
  readonly version: string
  /** As a sentence names it, such as `Apache Kafka 4.3.1`. */
  readonly title: string
  readonly megabytes: number
}

export type ArtifactSet =
  | (ArtifactSetBase & {
      readonly kind: 'jars'
      /** `group:artifact:version` each; fetched with what they need at run time, all into one flat folder. */
      readonly dependencies: readonly string[]
    })
  | (ArtifactSetBase & {
      readonly kind: 'archive'
      /** `group:artifact:version:type:classifier` of an archive, unpacked into the folder. */
      readonly archive: string
    })

/** Unpacks an archive without its description, whose parent some repositories lack; later versions insist on both. */
const plugin = 'org.apache.maven.plugins:maven-dependency-plugin:2.10'
const fetchWithinMs = 10 * 60_000
const pollEveryMs = 250

/** Outside of the clone, so that the next clone finds them. */
const cacheFolder = (): string => join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'freshet')

const folderOf = ({ name, version }: ArtifactSet): string => join(cacheFolder(), `${name}-${version}`)

/** A folder that exists is complete: it gets its name last. */
export function isCached(set: ArtifactSet): boolean {
  return existsSync(folderOf(set))
}

/**
 * The folder with the files, fetched when it is not there. Processes that ask at the same time share one fetch.
 * @throws Error with one sentence: no Maven, no Java, no network, no space
 */
export async function fetchArtifacts(set: ArtifactSet): Promise<string> {
  const folder = folderOf(set)
  if (isCached(set)) return folder
  await mkdir(cacheFolder(), { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${cacheFolder()} cannot be made (${error.code}): set XDG_CACHE_HOME to a folder of yours.`)
  })
  const lock = `${folder}.lock`
  await takeLock(lock)
  try {
    if (!isCached(set)) await fetchInto(folder, set)
  } finally {
    await rm(lock, { force: true })
  }
  return folder
}

async function fetchInto(folder: string, set: ArtifactSet): Promise<void> {
  await removeUnfinished(folder)
  const part = `${folder}.part-${process.pid}`
  await mkdir(part)
  try {
    await writeFile(join(part, 'pom.xml'), pomFor(set))
    await runMaven(set, part)
    await rm(join(part, 'target'), { recursive: true, force: true })
    await rename(part, folder)
  } catch (error) {
    await rm(part, { recursive: true, force: true })
    // Two may hold the lock after a crash, see `takeLock`; the other one was first, and its folder is as good.
    if (!isCached(set)) throw error
  }
}

function goalFor(set: ArtifactSet): readonly string[] {
  switch (set.kind) {
    case 'jars':
      return [`${plugin}:copy-dependencies`, '-DincludeScope=runtime']
    case 'archive':
      return [`${plugin}:unpack`, `-Dartifact=${set.archive}`]
  }
}

function pomFor(set: ArtifactSet): string {
  const dependencies = set.kind === 'jars' ? set.dependencies : []
  const elements = dependencies.map(each => {
    const [group, artifact, version] = each.split(':')
    return `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`
  })
  return [
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>',
    '<groupId>local</groupId><artifactId>files</artifactId><version>1</version><packaging>pom</packaging>',
    `<dependencies>${elements.join('\n')}</dependencies></project>`,
  ].join('\n')
}

async function runMaven(set: ArtifactSet, part: string): Promise<void> {
  // `-U`: else Maven remembers for a day that something could not be had.
  const args = ['-B', '-q', '-U', '-Dstyle.color=never', ...goalFor(set), `-DoutputDirectory=${part}`]
  await new Promise<void>((resolve, reject) => {
    const options = { cwd: part, timeout: fetchWithinMs, maxBuffer: 2 ** 26 }
    execFile('mvn', args, options, (error, stdout, stderr) => {
      if (error === null) resolve()
      else
        reject(new Error(`${set.title} could not be fetched: ${reasonOf(error, stdout + stderr)}.`, { cause: error }))
    })
  })
}

function reasonOf(error: Error & { readonly code?: unknown; readonly killed?: boolean }, output: string): string {
  if (error.code === 'ENOENT') return 'Maven was not found (the package is called maven)'
  if (error.killed) return `Maven did not finish within ${fetchWithinMs / 60_000} minutes`
  if (/JAVA_HOME|java: (command )?not found/.test(output)) return 'Maven found no Java (version 17 or newer is needed)'
  if (/No space left on device/.test(output)) return 'the disk is full'
  const said = /\[ERROR\] (.{1,500})/.exec(output)?.[1] ?? output.trim().split('\n').at(-1) ?? ''
  return /Could not transfer|Unknown ?host|Connection (refused|reset|timed out)|Connect timed out/i.test(output)
    ? `Maven could not reach its repository, it needs the network or a proxy (${said})`
    : said
}

/**
 * One fetch at a time. The lock file holds the pid of its owner from the moment it exists, and one whose owner is gone
 * is removed by whoever waits. Two that do so in the same instant may both go on: that costs a second download only.
 */
async function takeLock(path: string): Promise<void> {
  const own = `${path}-${randomUUID()}`
  await writeFile(own, String(process.pid))
  try {
    while (!(await linked(own, path))) {
      if (await isAbandoned(path)) await rm(path, { force: true })
      else await new Promise(resolve => setTimeout(resolve, pollEveryMs))
    }
  } finally {
    await rm(own, { force: true })
  }
}

/** A lock older than any fetch is abandoned too: its owner's pid may belong to another by now. */
async function isAbandoned(path: string): Promise<boolean> {
  try {
    const owner = Number(await readFile(path, 'utf8'))
    // The time of the last link to the file, which is when it became the lock.
    const { ctimeMs } = await stat(path)
    return !isAlive(owner) || Date.now() - ctimeMs > fetchWithinMs + 60_000
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** What a fetch that was killed has left. */
async function removeUnfinished(folder: string): Promise<void> {
  const start = `${basename(folder)}.part-`
  for (const name of await readdir(dirname(folder))) {
    if (name.startsWith(start) && !isAlive(Number(name.slice(start.length))))
      await rm(join(dirname(folder), name), { recursive: true, force: true })
  }
}
