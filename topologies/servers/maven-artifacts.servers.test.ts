import { execFile, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ArtifactSet } from './maven-artifacts.ts'

const small: ArtifactSet = {
  kind: 'jars',
  name: 'slf4j',
  version: '1',
  title: 'SLF4J',
  megabytes: 1,
  dependencies: ['org.slf4j:slf4j-api:1.7.36'],
}
const script = join(import.meta.dirname, 'testing', 'fetch-set.ts')

let cache: string
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'freshet-cache-'))
})
afterEach(() => rm(cache, { recursive: true }))

/** In a process of its own, with an empty cache. */
async function fetchSet(set: ArtifactSet, environment: Readonly<Record<string, string>> = {}): Promise<string> {
  const env = { ...process.env, XDG_CACHE_HOME: cache, ...environment }
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(set)], { env })
  return stdout.trim()
}

test('processes that ask at the same time share one fetch; what a killed one left is removed', async () => {
  const gone = spawnSync(process.execPath, ['--version']).pid
  await mkdir(join(cache, 'freshet', `slf4j-1.part-${gone}`), { recursive: true })
  await writeFile(join(cache, 'freshet', 'slf4j-1.lock'), String(gone))
  const folders = await Promise.all([fetchSet(small), fetchSet(small), fetchSet(small)])
  expect(new Set(folders)).toEqual(new Set([join(cache, 'freshet', 'slf4j-1')]))
  expect(await readdir(folders[0]!)).toContain('slf4j-api-1.7.36.jar')
  expect(await readdir(dirname(folders[0]!))).toEqual(['slf4j-1'])
})

test('what is in the cache needs no Maven', async () => {
  await mkdir(join(cache, 'freshet', 'slf4j-1'), { recursive: true })
  expect(await fetchSet(small, { PATH: '' })).toBe(join(cache, 'freshet', 'slf4j-1'))
})

test('without Maven, one sentence; and nothing is left', async () => {
  await expect(fetchSet(small, { PATH: '' })).rejects.toThrow(
    'SLF4J could not be fetched: Maven was not found (the package is called maven).',
  )
  expect(await readdir(join(cache, 'freshet'))).toEqual([])
})

test('an artifact that cannot be had is named; and nothing is left', async () => {
  const unknown = { ...small, dependencies: ['org.slf4j:slf4j-api:0.0.0-unknown'] }
  await expect(fetchSet(unknown)).rejects.toThrow(/SLF4J could not be fetched: .*slf4j-api:.*0\.0\.0-unknown/)
  expect(await readdir(join(cache, 'freshet'))).toEqual([])
})
